package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sys/unix"
)

// Run writes what is appended until ctx is done; then it writes what waits and
// ends with nil. It ends with an error when the disk fails in a way that
// waiting does not heal. Only while it runs is anything taken.
func (j *Journal) Run(ctx context.Context) error {
	j.mu.Lock()
	if j.running || j.ended != nil {
		j.mu.Unlock()
		return ErrStopped
	}
	j.running = true
	j.change()
	j.mu.Unlock()
	var err error
	if j.jump { // which nobody but Run changes now
		err = j.write(ctx, &group{buf: make([]byte, headerBytes), first: j.next})
	}
	for more := true; more && err == nil; {
		select {
		case <-j.wake:
		case <-ctx.Done():
			more = false
			j.mu.Lock()
			j.end(ErrStopped)
			j.mu.Unlock()
		}
		for err == nil {
			g := j.take()
			if g == nil {
				break
			}
			err = j.write(ctx, g)
			j.settle(g, err)
		}
	}
	return j.stop(err)
}

// take returns what waits to be written; nil when nothing does.
func (j *Journal) take() *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := j.filling
	if len(g.done) == 0 {
		return nil
	}
	j.filling, j.spare = j.spare, nil
	j.used += int64(len(g.buf)) // what waits counts as used; so does what is being written
	j.change()                  // there is room in memory
	return g
}

// settle tells everybody what became of a group.
func (j *Journal) settle(g *group, err error) {
	if err == nil {
		j.mu.Lock()
		s := j.segments[len(j.segments)-1]
		s.size += int64(len(g.buf))
		s.filled = true
		j.synced = g.first + int64(g.count)
		maps.Copy(s.ends, g.ends)
		maps.Copy(j.ends, g.ends)
		mergeMarks(j.marks, g.marks)
		j.change()
		j.mu.Unlock()
	}
	for _, done := range g.done {
		done(err)
	}
	g.reset()
	j.mu.Lock()
	j.spare = g
	if j.ended != nil { // readers wait for this
		j.change()
	}
	j.mu.Unlock()
}

// stop fails what was appended and not written.
func (j *Journal) stop(err error) error {
	why := err
	if why == nil {
		why = ErrStopped
	}
	j.mu.Lock()
	j.end(why)
	left := j.filling
	j.filling = newGroup()
	j.mu.Unlock()
	for _, done := range left.done {
		done(why)
	}
	return err
}

// rest writes a last group, without records: a bit that flips in the one before is then told from a torn end.
func (j *Journal) rest(marks map[string]string) error {
	g := newGroup()
	g.first = j.synced
	if len(marks) > 0 {
		g.buf = j.encoder.append(g.buf, &Entry{Marks: marks})
	}
	err := j.append(g)
	if err == nil {
		err = j.active.Sync()
	}
	if err != nil && (len(marks) > 0 || !noRoom(err)) { // without room it goes without, and the next start cuts it off
		return fmt.Errorf("journal: writing its end, behind records that are all safe: %w", err)
	}
	return nil
}

// Waiting for room on the disk.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// write makes a group durable. Want of room is waited for as long as ctx is not done.
func (j *Journal) write(ctx context.Context, g *group) error {
	wait := retryMin
	for {
		err := j.tryWrite(g)
		if err == nil || !noRoom(err) {
			j.trouble(nil)
			return err
		}
		j.trouble(err)
		select {
		case <-ctx.Done():
			return err
		case <-j.o.After(wait):
			wait = min(2*wait, retryMax)
		}
	}
}

func noRoom(err error) bool {
	var failed *syncError
	return (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !errors.As(err, &failed)
}

// syncError is a sync that failed: nobody knows what is on disk.
type syncError struct{ err error }

func (e *syncError) Error() string {
	return fmt.Sprintf("%v: what was written may be lost, though nothing of it was acknowledged; see to the disk and start again", e.err)
}
func (e *syncError) Unwrap() error { return e.err }

func (j *Journal) trouble(err error) {
	j.mu.Lock()
	was := j.troubled
	j.troubled = err != nil
	j.mu.Unlock()
	if was || err != nil {
		j.o.Trouble(err)
	}
}

// leaves refuses a write that would leave too little of the disk to others.
func (j *Journal) leaves(size int) error {
	if j.o.Reserve == nil {
		return nil
	}
	reserve := j.o.Reserve()
	if reserve <= 0 {
		return nil
	}
	free, err := j.o.FS.Free(j.o.Dir)
	if err != nil {
		return fmt.Errorf("journal: asking for the space left: %w", err)
	}
	if free-int64(size) < reserve {
		return fmt.Errorf("journal: the file system of %s has %d bytes left, and %d must stay free for the state: %w", j.o.Dir, free, reserve, unix.ENOSPC)
	}
	return nil
}

func (j *Journal) tryWrite(g *group) error {
	if err := j.leaves(len(g.buf)); err != nil {
		return err
	}
	if j.rolls(len(g.buf)) {
		if err := j.roll(g.first); err != nil {
			return err
		}
	}
	if err := j.append(g); err != nil {
		return fmt.Errorf("journal: writing: %w", err)
	}
	if err := j.active.Sync(); err != nil {
		return fmt.Errorf("journal: %w", &syncError{err})
	}
	return nil
}

// rolls tells whether a write begins a segment. One that has nothing but its
// head is never left: half a write may lie behind it, which looks like damage once another segment follows.
func (j *Journal) rolls(size int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active == nil || j.jump {
		return true
	}
	last := j.segments[len(j.segments)-1]
	return last.filled && last.size+int64(size) > j.o.SegmentBytes
}

// append writes a group behind what is safe. Whatever an attempt before left
// there is written over.
func (j *Journal) append(g *group) error {
	seal(g.buf, j.id, magicGroup, g.first, uint32(g.count))
	j.mu.Lock()
	at := j.segments[len(j.segments)-1].size
	j.mu.Unlock()
	n, err := j.active.WriteAt(g.buf, at)
	if err == nil && n < len(g.buf) {
		err = fmt.Errorf("%d of %d bytes were written", n, len(g.buf))
	}
	return err
}

// roll begins a segment. Its head, and that the folder has it, is durable
// before anything is written behind it.
func (j *Journal) roll(first int64) error {
	j.mu.Lock()
	h := head{number: j.number + 1, first: first, jump: j.jump, marks: j.marks, ends: j.ends}
	block := h.append(nil, j.id)
	j.mu.Unlock()
	path := j.path(h.number)
	f, err := j.o.FS.Create(path)
	if err != nil {
		return fmt.Errorf("journal: making a segment: %w", err)
	}
	if _, err = f.WriteAt(block, 0); err != nil { // it is made again
		return fmt.Errorf("journal: beginning a segment: %w", errors.Join(err, f.Close(), j.o.FS.Remove(path)))
	}
	err = f.Sync()
	if err == nil {
		err = j.o.FS.SyncDir(j.o.Dir)
	}
	if err != nil {
		return fmt.Errorf("journal: beginning a segment: %w", errors.Join(&syncError{err}, f.Close()))
	}
	if j.active != nil {
		err = j.active.Close()
	}
	j.active = f
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number, j.jump = h.number, false
	j.used += int64(len(block))
	j.segments = append(j.segments, &segment{number: h.number, path: path, size: int64(len(block)), ends: make(map[Stream]int64)})
	if err != nil {
		return fmt.Errorf("journal: closing a segment: %w", err)
	}
	return nil
}
