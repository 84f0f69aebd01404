package docker

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slack is how far the times of a log may go back, in seconds: the two streams
// of a container get theirs before they meet in the log.
const slack = 1

// place is how far a container's log was read. The engine gives a log from a
// time on, always in the same order, so a place is a time that lies somewhat back, and
// how many of the lines from then on were taken: as many are passed over when
// it is read again. That is exact though times are equal, or go back a little.
// The time is whole seconds, as some engines give the times of lines no finer.
type place struct {
	since  int64  // seconds; lines of this time and later are counted
	count  int    // how many of them were taken
	newest int64  // the latest time of those, in nanoseconds
	last   uint64 // what the last one was, so that it is noticed when others are there

	seconds []second // how many of the counted lines are of each second, in the order of their coming

	skip    int  // how many lines are passed over yet
	settled bool // a line of since or later has come in this reading
}

// second is how many lines are of one second.
type second struct {
	at int64
	n  int
}

// placeAt is the place before the lines of a time, to the second.
func placeAt(t time.Time) *place { return &place{since: t.Unix()} }

// String encodes a place as a mark.
func (p *place) String() string {
	return fmt.Sprintf("%d %d %d %x", p.since, p.count, p.newest, p.last)
}

// parsePlace reads what String wrote.
func parsePlace(text string) (*place, error) {
	p := &place{}
	parts := strings.Split(text, " ")
	var errs [4]error
	if len(parts) == 4 {
		p.since, errs[0] = strconv.ParseInt(parts[0], 10, 64)
		p.count, errs[1] = strconv.Atoi(parts[1])
		p.newest, errs[2] = strconv.ParseInt(parts[2], 10, 64)
		p.last, errs[3] = strconv.ParseUint(parts[3], 16, 64)
	}
	if len(parts) != 4 || p.count < 0 || slices.ContainsFunc(errs[:], func(err error) bool { return err != nil }) {
		return nil, fmt.Errorf("docker: the journal holds %.60q as a container's place, which this version does not understand", text)
	}
	return p, nil
}

// from is the time to ask the engine for.
func (p *place) from() string { return strconv.FormatInt(p.since, 10) }

// begin is called before the log is read again from from.
func (p *place) begin() {
	p.skip, p.settled, p.seconds = p.count, false, p.seconds[:0]
}

// taken tells whether a line was taken in an earlier reading. gap says that the log is not
// what it was: lines were removed from it, so that it is by times alone that lines are told.
func (p *place) taken(l *logLine) (taken, gap bool) {
	if l.at.Unix() < p.since {
		return !p.settled, false // earlier than was asked for
	}
	p.settled = true
	switch {
	case p.skip == 0:
		return false, false
	case l.at.UnixNano() > p.newest:
		// Fewer lines were there than were taken: what comes now is new.
		p.skip = 0
		p.recount()
		return false, true
	}
	p.skip--
	p.remember(l)
	if p.skip == 0 && fingerprint(l) != p.last {
		p.recount()
		return true, true
	}
	return true, false
}

// recount makes the place fit the lines that there were.
func (p *place) recount() {
	p.count = 0
	for _, s := range p.seconds {
		p.count += s.n
	}
}

// take adds a line that is new.
func (p *place) take(l *logLine) {
	if l.at.Unix() < p.since {
		return // a line that came late is not among those that are asked for again
	}
	p.remember(l)
	p.count++
	p.newest, p.last = max(p.newest, l.at.UnixNano()), fingerprint(l)
	if to := p.newest/int64(time.Second) - slack; to > p.since {
		p.since = to
		p.seconds = slices.DeleteFunc(p.seconds, func(s second) bool { return s.at < to })
		p.recount()
	}
}

func (p *place) remember(l *logLine) {
	at := l.at.Unix()
	for i := range p.seconds {
		if p.seconds[i].at == at {
			p.seconds[i].n++
			return
		}
	}
	p.seconds = append(p.seconds, second{at, 1})
}

// fingerprint stands for a line.
func fingerprint(l *logLine) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s ", l.at.UnixNano(), l.stream)
	_, _ = h.Write(l.text)
	return h.Sum64()
}
