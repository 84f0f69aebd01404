package http

import (
	"math"
	"time"

	"sluice/pipeline"
	"sluice/sources/internal/httpd"
)

// typeProtobuf is the content type of a push in protobuf, whose body is a block of snappy.
const typeProtobuf = "application/x-protobuf"

// Bounds of a stream's labels and an entry's metadata.
const (
	maxLabels   = 128
	maxMetadata = 128
)

// readLoki reads a push.
func readLoki(r *httpd.Request) error {
	switch r.ContentType {
	case typeProtobuf:
		body, err := r.Unblock()
		if err != nil {
			return err
		}
		return newPush(r).proto(body)
	case "application/json":
		body, err := r.Whole()
		if err != nil {
			return err
		}
		return newPush(r).json(body)
	}
	return httpd.Unsupported("Loki's push API takes %s and application/json, not %.100q", typeProtobuf, r.ContentType)
}

// push makes records of a push. A stream's records are a group.
type push struct {
	*httpd.Request
	streams int // how many began
	entries int // of this one
}

func newPush(r *httpd.Request) *push { return &push{Request: r} }

func (p *push) stream() (*httpd.Group, error) {
	p.streams++
	p.entries = 0
	return p.Batch.Group()
}

// bad refuses the push, with the place.
func (p *push) bad(format string, args ...any) error {
	if p.entries > 0 {
		return httpd.Malformed("stream %d, entry %d: "+format, append([]any{p.streams, p.entries}, args...)...)
	}
	return httpd.Malformed("stream %d: "+format, append([]any{p.streams}, args...)...)
}

// The times that nanoseconds since 1970 can say: Loki takes no others.
var (
	earliest = time.Unix(0, math.MinInt64)
	latest   = time.Unix(0, math.MaxInt64)
)

// add adds an entry. Its line and metadata stay as they are.
func (p *push) add(g *httpd.Group, at time.Time, line []byte, metadata []pipeline.Header) error {
	if at.Before(earliest) || at.After(latest) {
		return p.bad("its time is out of all bounds")
	}
	return g.Add(line, at.UTC(), metadata)
}
