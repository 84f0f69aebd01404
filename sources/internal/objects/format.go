package objects

import (
	"io"
	"time"
)

// Format is what a kind of source knows of its objects.
type Format struct {
	// Module is evt.Line.Module of its records.
	Module string
	// Topic is the topic of the source's one partition when a bucket is listed: bucket and prefix.
	Topic string
	// Prefixes are listed; their levels may be patterns.
	Prefixes []string
	// Treat says by its key what is done with an object. It is called from
	// several goroutines, and more than once for an object.
	Treat func(key string) Treatment
	// WrittenOnce says that no key is ever written again: whatever names it means the same object.
	WrittenOnce bool
	// Order, if set, is the time that a key itself tells; 0 where it tells none.
	Order func(key string) int64
	// After, if set, returns the key behind which a prefix's objects of a time
	// and later are; "" where all may be.
	After func(prefix string, since time.Time) string
}

// Treatment is what is done with an object.
type Treatment struct {
	// Skip is why the object is not read, a reason of a fixed set; "" when it is.
	Skip string
	// Labels are given to its records.
	Labels map[string]string
	// Entries cuts it into the elements of its array Records; otherwise it is cut into lines.
	Entries bool
}

func (t *Treatment) splitter(r io.Reader, limit int) splitter {
	if t.Entries {
		return newEntries(r, limit)
	}
	return newLines(r, limit)
}

// order returns by what the objects of several prefixes are ordered.
func (f *Format) order(r *Ref) int64 {
	if f.Order != nil {
		if t := f.Order(r.Key); t != 0 {
			return t
		}
	}
	return r.Modified / 1000
}
