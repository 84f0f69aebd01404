package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/pipeline"
)

// model is what a journal is held to: a list of records for each stream, and marks.
type model struct {
	streams map[Stream][]modelRecord
	marks   map[string]string
	trimmed map[Stream]int64
	end     int64
}

type modelRecord struct {
	offset int64
	value  string
}

func (m *model) put(e *Entry) {
	for i, r := range e.Records {
		m.streams[e.Stream] = append(m.streams[e.Stream], modelRecord{m.end + int64(i), string(r.Value)})
	}
	m.end += int64(len(e.Records))
	mergeMarks(m.marks, e.Marks)
}

// check compares the journal with the model. The first acked entries in flight
// were acknowledged; of those behind the first few may be there as well.
func (m *model) check(t *testing.T, j *Journal, flight []Entry, acked int) {
	t.Helper()
	for _, e := range flight[:acked] {
		m.put(&e)
	}
	for _, e := range flight[acked:] { // as many of these as make the journal's end and marks
		if m.end == j.synced && fmt.Sprint(j.Marks()) == fmt.Sprint(m.marks) {
			break
		}
		m.put(&e)
	}
	if j.synced != m.end {
		t.Fatalf("the journal ends at %d, the model at %d", j.synced, m.end)
	}
	if fmt.Sprint(j.Marks()) != fmt.Sprint(m.marks) {
		t.Fatalf("marks %v, the model's %v", j.Marks(), m.marks)
	}
	got := make(map[Stream][]modelRecord)
	for _, b := range read(t, j, m.trimmed) {
		for _, r := range b.Records {
			got[b.Stream] = append(got[b.Stream], modelRecord{r.Offset, string(r.Value)})
		}
	}
	for s, all := range m.streams {
		i := 0
		for i < len(all) && all[i].offset < m.trimmed[s] {
			i++
		}
		if fmt.Sprint(got[s]) != fmt.Sprint(all[i:]) {
			t.Fatalf("stream %v from %d: got  %v\nwant %v", s, m.trimmed[s], got[s], all[i:])
		}
		if len(all) > 0 && j.End(s) != all[len(all)-1].offset+1 {
			t.Fatalf("stream %v ends at %d", s, j.End(s))
		}
	}
}

func TestRandomOperationsEqualTheModel(t *testing.T) {
	seeds := 150
	if n, err := strconv.Atoi(os.Getenv("SLUICE_SEEDS")); err == nil {
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			fs := newMemory()
			o := options(t, fs)
			o.SegmentBytes = int64(500 + r.IntN(5000))
			o.MaxBytes = 1 << 30
			m := &model{streams: make(map[Stream][]modelRecord), marks: make(map[string]string), trimmed: make(map[Stream]int64)}
			for range 1 + r.IntN(6) {
				fs = m.live(t, r, o, fs)
				o.FS = fs
			}
		})
	}
}

// live is the life of one process: appends, trims, and an end of some kind. It
// returns what is on disk after it.
func (m *model) live(t *testing.T, r *rand.Rand, o Options, fs *memory) *memory {
	o.FS = fs
	faults := rand.New(rand.NewPCG(r.Uint64(), 2))
	fs.fail = func(op, _ string) error { // with the lock held
		if (op == "write" || op == "create") && faults.IntN(10) == 0 {
			return unix.ENOSPC
		}
		return nil
	}
	o.After = func(time.Duration) <-chan time.Time {
		c := make(chan time.Time, 1)
		c <- time.Time{}
		return c
	}
	j := start(t, o)
	m.check(t, j.Journal, nil, 0)
	for range r.IntN(40) {
		switch r.IntN(6) {
		case 0:
			next := make(map[Stream]int64)
			for s, all := range m.streams {
				if r.IntN(2) == 0 && len(all) > 0 {
					next[s] = max(m.trimmed[s], all[r.IntN(len(all))].offset+1)
					m.trimmed[s] = next[s]
				}
			}
			if err := j.Trim(next); err != nil {
				t.Fatal(err)
			}
		default:
			e := randomEntry(r)
			j.mustPut(e)
			m.put(&e)
		}
	}
	m.check(t, j.Journal, nil, 0)
	switch r.IntN(3) {
	case 0:
		fs.mu.Lock()
		fs.fail = nil
		fs.mu.Unlock()
		j.end()
		return fs
	case 1: // killed: what was written is there
		flight, acked := m.flight(t, r, j)
		left := fs.copy()
		_ = j.fall()
		return m.after(t, o, left, flight, acked)
	default: // power failure
		flight, acked := m.flight(t, r, j)
		left := fs.crash(r)
		_ = j.fall()
		return m.after(t, o, left, flight, acked)
	}
}

// flight appends without waiting, and returns how many entries were
// acknowledged at some moment before.
func (m *model) flight(t *testing.T, r *rand.Rand, j *running) (flight []Entry, acked int) {
	acks := make(chan bool, 100)
	for range r.IntN(10) {
		e := randomEntry(r)
		flight = append(flight, e)
		if err := j.Append(context.Background(), &e, func(err error) { acks <- err == nil }); err != nil {
			t.Fatal(err)
		}
	}
	for range r.IntN(len(flight) + 1) {
		if <-acks {
			acked++
		}
	}
	return flight, acked
}

// after opens what a crash left, and brings the model to what is found, if
// that is all that was acknowledged and whole entries in order.
func (m *model) after(t *testing.T, o Options, fs *memory, flight []Entry, acked int) *memory {
	o.FS = fs
	j, err := Open(o)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	m.check(t, j, flight, acked)
	if err := j.Close(nil); err != nil {
		t.Fatal(err)
	}
	return fs
}

func randomEntry(r *rand.Rand) Entry {
	e := Entry{Stream: Stream{Topic: string(rune('a' + r.IntN(3)))}}
	for range r.IntN(5) {
		e.Records = append(e.Records, pipeline.Record{Value: []byte(strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(200)))})
	}
	if r.IntN(2) == 0 || len(e.Records) == 0 {
		e.Marks = map[string]string{string(rune('m' + r.IntN(3))): strconv.FormatUint(r.Uint64(), 36)}
	}
	if len(e.Records) > 0 && r.IntN(5) == 0 {
		e.Marks = map[string]string{string(rune('m' + r.IntN(3))): ""}
	}
	return e
}
