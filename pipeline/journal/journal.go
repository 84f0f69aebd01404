package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"sluice/pipeline/dirlock"
)

// ErrStopped is the error of Append when Run has ended.
var ErrStopped = errors.New("the journal takes nothing: its run has ended")

// Journal is an open journal. Its methods may be called from any goroutine, but
// for Run, which is called once, and Close, which comes after it.
type Journal struct {
	o    Options
	lock *dirlock.Lock
	id   identity

	// active is the file that is appended to; only Run uses it once it runs.
	active File
	// begins are where streams ended before the first segment that Open found.
	begins map[Stream]int64

	mu       sync.Mutex
	segments []*segment // the last is active's
	number   uint64     // of the last segment
	used     int64      // bytes of all segments, written or being written
	synced   int64      // offset behind the last record that is safe
	ends     map[Stream]int64
	marks    map[string]string // ends and marks of what is safe
	jump     bool              // the next group begins a segment, and offsets were passed over
	encoder  encoder
	filling  *group // what waits to be written
	spare    *group
	next     int64         // offset behind the last record that was appended
	changed  chan struct{} // closed and made anew when something moved
	running  bool
	ended    error // why nothing is taken any more
	troubled bool  // nothing can be written at the moment

	needed map[Stream]int64 // what Trim was told

	wake     chan struct{} // of one: something waits to be written
	trimming sync.Mutex    // held by whoever removes segments
	chunks   chunks
}

// group is what is written at once.
type group struct {
	buf   []byte // room for a header, then frames
	first int64
	count int
	ends  map[Stream]int64
	marks map[string]string
	done  []func(error)
}

// maxFilling bounds what waits to be written, but for one entry that is larger.
const maxFilling = 2 << 20

func newJournal(o Options, lock *dirlock.Lock) *Journal {
	j := &Journal{
		o: o, lock: lock,
		begins: make(map[Stream]int64), ends: make(map[Stream]int64), marks: make(map[string]string),
		needed: make(map[Stream]int64), changed: make(chan struct{}), wake: make(chan struct{}, 1),
		filling: newGroup(), spare: newGroup(),
	}
	j.chunks.poison = o.Poison
	return j
}

func newGroup() *group {
	return &group{buf: make([]byte, headerBytes), ends: make(map[Stream]int64), marks: make(map[string]string)}
}

func (g *group) reset() {
	if cap(g.buf) > 2*maxFilling { // of one large entry
		g.buf = make([]byte, headerBytes)
	}
	g.buf, g.count = g.buf[:headerBytes], 0
	clear(g.ends)
	clear(g.marks)
	clear(g.done)
	g.done = g.done[:0]
}

// change must be called with the lock held.
func (j *Journal) change() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// Append appends an entry. It blocks until Run has begun, and while the journal is full or more waits
// to be written than is good for memory. Once it returns nil the entry's memory
// is the caller's again, and done will be called once, in the order of the
// appends, from another goroutine: with nil when the entry is synced, or with the
// error why it may be lost. Otherwise done is not called.
func (j *Journal) Append(ctx context.Context, e *Entry, done func(error)) error {
	size := maxEncoded(e)
	if size > maxBody {
		return fmt.Errorf("journal: an entry of %d records in %d bytes is larger than a group may be (%d)", len(e.Records), size, maxBody)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.ended == nil && !(j.running && j.room(size)) {
		changed := j.changed
		j.mu.Unlock()
		select {
		case <-changed:
			j.mu.Lock()
		case <-ctx.Done():
			j.mu.Lock()
			return ctx.Err()
		}
	}
	if j.ended != nil {
		return j.ended
	}
	g := j.filling
	if len(g.done) == 0 {
		g.first = j.next
	}
	g.buf = j.encoder.append(g.buf, e)
	g.done = append(g.done, done)
	if n := len(e.Records); n > 0 {
		g.count += n
		j.next += int64(n)
		g.ends[e.Stream] = j.next
	}
	maps.Copy(g.marks, e.Marks)
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return nil
}

// room tells whether an entry may be appended. An entry larger than what may
// wait is let in alone.
func (j *Journal) room(size int) bool {
	waits := len(j.filling.buf)
	return !j.full() && (waits+size <= maxFilling || waits == headerBytes)
}

// full must be called with the lock held. A journal that nobody needs anything of
// is not full, however large its last segment is: the next group begins another.
func (j *Journal) full() bool {
	if j.used+int64(len(j.filling.buf)) < j.o.MaxBytes {
		return false
	}
	return len(j.segments) > 1 || j.synced < j.next || !j.through(j.ends)
}

// Full tells whether an Append would have to wait for room on disk.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.troubled || j.full()
}

// Marks returns the marks of all that is synced.
func (j *Journal) Marks() map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.marks)
}

// Ends returns the offsets behind the last synced record of every stream that
// ever had one.
func (j *Journal) Ends() map[Stream]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.ends)
}

// End is Ends of one stream.
func (j *Journal) End(s Stream) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ends[s]
}

// Begins returns, for every stream that had records in segments that were
// removed before Open, the offset behind the last of those: whoever stands
// before it is missing records.
func (j *Journal) Begins() map[Stream]int64 { return maps.Clone(j.begins) }

// Bytes returns how much the journal takes on disk.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.used
}

// Advance makes streams end, and offsets go on, at or behind the given
// offsets, as if records up to there had been lost. Call it before Run.
func (j *Journal) Advance(ends map[Stream]int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s, end := range ends {
		j.ends[s] = max(j.ends[s], end)
		if end > j.next {
			j.next, j.synced, j.jump = end, end, true
		}
	}
}

// Trim says how far each stream is no longer needed: what lies before these
// offsets may go. A segment is removed once that is true of all its records,
// and all before it are removed. Streams that have nothing in it do not matter.
func (j *Journal) Trim(next map[Stream]int64) error {
	j.trimming.Lock()
	defer j.trimming.Unlock()
	j.mu.Lock()
	for s, at := range next {
		j.needed[s] = max(j.needed[s], at)
	}
	j.change()
	j.mu.Unlock()
	for {
		old := j.oldest()
		if old == nil {
			return nil
		}
		err := j.o.FS.Remove(old.path)
		if err == nil { // before the next one goes, or a power failure could leave a hole
			err = j.o.FS.SyncDir(j.o.Dir)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("journal: removing what is no longer needed: %w", err)
		}
		j.mu.Lock()
		j.segments = j.segments[1:]
		j.used -= old.size
		j.change()
		j.mu.Unlock()
	}
}

// oldest returns the first segment if nobody needs it; nil when there is none but the active one.
func (j *Journal) oldest() *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) < 2 || !j.through(j.segments[0].ends) {
		return nil
	}
	return j.segments[0]
}

// through tells whether nobody needs the records before these ends; it must be called with the lock held.
func (j *Journal) through(ends map[Stream]int64) bool {
	for stream, end := range ends {
		if j.needed[stream] < end {
			return false
		}
	}
	return true
}

// Close frees the folder. Run has ended, and readers are not used any more.
// The last marks, if any, are kept as if an entry with them had been appended;
// with them ends a run in peace.
func (j *Journal) Close(last map[string]string) error {
	j.mu.Lock()
	peace := !j.jump && (j.ended == nil || errors.Is(j.ended, ErrStopped)) // a jump that was never written is none
	j.end(ErrStopped)
	j.mu.Unlock()
	var err error
	if j.active != nil {
		if peace {
			err = j.rest(last)
		}
		err = errors.Join(err, j.active.Close())
		j.active = nil
	}
	j.mu.Lock()
	j.segments = nil
	j.mu.Unlock()
	return errors.Join(err, j.lock.Release())
}

// end ends the taking of entries; it must be called with the lock held.
func (j *Journal) end(why error) {
	if j.ended == nil {
		j.ended = why
	}
	j.change()
}
