package kinesis

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Keys of the intake's marks: one for the stream, and one for each shard.
const (
	streamKey   = "stream"
	shardPrefix = "shard/"
)

// The kinds of places in a shard.
const (
	placeOldest = "oldest" // at the oldest record there is
	placeTime   = "time"   // at the first record from a time on
	placeAfter  = "after"  // behind a sequence number
	placeWithin = "within" // at a sequence number, whose record is put in part
	placeEnd    = "end"    // behind the last record of a shard that was closed
)

// mark is how far a shard is read. It is written down with the records before
// it, as "place detail seen": "after 4959… 1700000000000".
type mark struct {
	place    string
	sequence string    // of placeAfter and placeWithin
	part     int       // of placeWithin: how many of the records within are put
	at       time.Time // of placeTime
	// seen is until when everything that arrived has been read, by the time of
	// arrival; for a shard of which nothing is read yet, when it was found.
	seen time.Time
}

// String encodes the mark.
func (m mark) String() string {
	detail := "-"
	switch m.place {
	case placeAfter:
		detail = m.sequence
	case placeWithin:
		detail = m.sequence + "+" + strconv.Itoa(m.part)
	case placeTime:
		detail = strconv.FormatInt(m.at.UnixMilli(), 10)
	}
	return m.place + " " + detail + " " + strconv.FormatInt(m.seen.UnixMilli(), 10)
}

// parseMark reads what String wrote.
func parseMark(text string) (mark, error) {
	f := strings.Fields(text)
	broken := fmt.Errorf("kinesis: the journal holds %q for a shard, which this version does not understand", text)
	if len(f) != 3 {
		return mark{}, broken
	}
	seen, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return mark{}, broken
	}
	m := mark{place: f[0], seen: time.UnixMilli(seen).UTC()}
	switch m.place {
	case placeOldest, placeEnd:
	case placeAfter:
		m.sequence = f[1]
	case placeWithin:
		sequence, part, _ := strings.Cut(f[1], "+")
		if m.part, err = strconv.Atoi(part); err != nil || m.part < 1 {
			return mark{}, broken
		}
		m.sequence = sequence
	case placeTime:
		at, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return mark{}, broken
		}
		m.at = time.UnixMilli(at).UTC()
	default:
		return mark{}, broken
	}
	return m, nil
}
