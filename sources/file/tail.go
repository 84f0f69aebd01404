package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// tail follows one path. Its file is open from the first look on; when the
// path gets another file, the old one is read to its end first.
type tail struct {
	s          *Source
	f          *follower
	path       string
	generation int64
	begin      int64 // byte where the path's own file is begun

	at      *content // the file at hand; nil when none
	next    []*content
	size    int64
	id      identity // of at
	sp      *splitter
	last    []byte    // bytes of at before what is read next: they tell when it was written anew
	quiet   time.Time // since when the renamed file has brought nothing; zero while it is not renamed
	failing bool      // the last look failed; it was logged
	gone    bool      // the path has no file any more, and the old one is read
}

const (
	// lastBytes is how many bytes before the offset tell a file that was truncated and grew again.
	lastBytes = 256
	// maxNext bounds the files that wait behind the one at hand.
	maxNext = 16
)

// step reads what is new, within a round; more says that there may be more at once.
func (t *tail) step(ctx context.Context, out sources.Emit) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if t.at == nil {
		if opened, err := t.open(ctx, out); !opened || err != nil {
			return false, err
		}
	}
	if err := t.look(ctx); err != nil {
		return false, err
	}
	if t.shrunk() {
		return true, t.truncated(ctx, out)
	}
	n, whole, err := t.read(ctx, out)
	switch {
	case err != nil:
		return false, err
	case !whole:
		return true, t.truncated(ctx, out)
	case n >= roundBytes:
		return true, nil
	}
	return t.rotated(ctx, out, n > 0)
}

// open opens the file that is due; false when it cannot, which is logged once.
func (t *tail) open(ctx context.Context, out sources.Emit) (bool, error) {
	c := t.due()
	if c == nil {
		return false, nil
	}
	if t.registered(c) {
		t.id = t.idOf(c.generation)
	} else {
		t.id = c.identify()
		if err := t.f.registry.put(ctx, t.path, t.id); err != nil {
			c.close()
			return false, err
		}
	}
	t.recover()
	t.generation, t.at, t.size, t.quiet = c.generation, c, c.size(), time.Time{}
	t.begins(c.begin)
	t.s.note(t.path, t.sp.offset, t.high(), false)
	// The state is to stand in this file, since the one before may be removed.
	return true, out(ctx, &pipeline.RecordBatch{Partition: t.s.partition(t.path), Module: "file", Next: t.sp.offset, HighWatermark: t.high(), Release: func() {}})
}

// due returns the file to be read next, at its place.
func (t *tail) due() *content {
	if len(t.next) > 0 {
		c := t.next[0]
		t.next = t.next[1:]
		return c
	}
	c, err := openContent(t.path)
	if err == nil {
		c.generation, c.begin = t.generation, t.begin
		err = c.seek(t.begin)
	}
	if err == nil {
		return c
	}
	c.close()
	t.gone = errors.Is(err, fs.ErrNotExist)
	if !t.gone {
		t.fault(err)
	}
	return nil
}

func (t *tail) registered(c *content) bool {
	id := t.idOf(c.generation)
	return id.Inode != 0 && id.here(c.info) && id.Head >= headEnough && id.begins(c)
}

func (t *tail) idOf(generation int64) identity {
	files, _ := t.f.registry.files(t.path)
	for _, id := range files {
		if id.Generation == generation {
			return id
		}
	}
	return identity{}
}

// begins makes a splitter for the file at hand, and takes what tells that it was not written anew.
func (t *tail) begins(at int64) {
	t.sp = t.s.newSplitter(position(t.generation, at))
	t.last = t.last[:0]
	if at > 0 && !t.at.compressed {
		b := make([]byte, min(at, lastBytes))
		if n, err := t.at.file.ReadAt(b, at-int64(len(b))); err == nil || n == len(b) {
			t.last = append(t.last, b...)
		}
	}
}

// high is the offset behind the last byte of the file at hand, as far as that is known.
func (t *tail) high() int64 {
	if t.size < 0 {
		return -1
	}
	return position(t.generation, t.size)
}

// place is the byte of the file at hand that is read next.
func (t *tail) place() int64 { return t.sp.offset&offsetMask + int64(t.sp.end-t.sp.start) }

// fault and recover log a change of state once.
func (t *tail) fault(err error) {
	t.s.errors.Add(1)
	if !t.failing {
		t.s.log.Warn("a file cannot be read; it is tried again", "path", t.path, "error", err)
	}
	t.failing = true
}

func (t *tail) recover() {
	if t.failing {
		t.s.reconnects.Add(1)
		t.s.log.Info("a file can be read again", "path", t.path)
	}
	t.failing = false
}

// look opens what the path has by now, if that is another file than before:
// rotation may come again before the file at hand is read.
func (t *tail) look(ctx context.Context) error {
	info, err := os.Stat(t.path)
	if err != nil || len(t.next) >= maxNext {
		return nil // rotated says so
	}
	newest := t.at
	if len(t.next) > 0 {
		newest = t.next[len(t.next)-1]
	}
	if os.SameFile(info, newest.info) || t.f.known(t.path, info) {
		return nil
	}
	c, err := openContent(t.path)
	if err != nil {
		return nil // rotated says so
	}
	if c.compressed {
		c.close()
		return nil
	}
	if err := t.between(ctx, newest, info); err != nil {
		c.close()
		return err
	}
	return t.queue(ctx, c, newest.generation+1)
}

// queue has a file read after those that are known.
func (t *tail) queue(ctx context.Context, c *content, generation int64) error {
	if n := len(t.next); n > 0 {
		generation = t.next[n-1].generation + 1
	}
	c.generation = generation
	t.next = append(t.next, c)
	return t.f.registry.put(ctx, t.path, c.identify())
}

// read reads to the file's end, or a round. whole is false when the file was
// written anew meanwhile: what was read of it is not taken.
func (t *tail) read(ctx context.Context, out sources.Emit) (n int, whole bool, err error) {
	for n < roundBytes {
		at := t.place()
		got, rerr := t.sp.read(t.at)
		n += got
		if got > 0 {
			if !t.same(at) {
				t.sp.end -= got
				return n, false, nil
			}
			if err := t.complete(ctx); err != nil {
				return n, true, err
			}
			t.keep(t.sp.block.buf[t.sp.end-got : t.sp.end])
			t.recover()
			t.size = t.at.size()
			if err := t.s.emitAll(ctx, t.path, t.sp, t.high(), out); err != nil {
				return n, true, err
			}
		}
		if rerr == io.EOF {
			t.s.note(t.path, t.sp.offset, t.high(), false)
			return n, true, nil
		}
		if rerr != nil {
			t.fault(rerr)
			return n, true, nil
		}
		if err := ctx.Err(); err != nil {
			return n, true, err
		}
	}
	return n, true, nil
}

// complete registers more of the file's beginning once there is more of it,
// before it is emitted: at first any of it, then as much as is ever kept.
func (t *tail) complete(ctx context.Context) error {
	if t.id.Head >= headBytes || t.at.compressed {
		return nil
	}
	size := t.at.size()
	if size < headBytes && (size < headEnough || t.id.Head >= headEnough) {
		return nil
	}
	id := t.at.identify()
	id.Begin = t.id.Begin
	if id.Head <= t.id.Head {
		return nil
	}
	t.id = id
	return t.f.registry.put(ctx, t.path, id)
}

// same tells whether the bytes before a place are still those that were read.
func (t *tail) same(at int64) bool {
	if len(t.last) == 0 || t.at.compressed {
		return true
	}
	var b [lastBytes]byte
	n, err := t.at.file.ReadAt(b[:len(t.last)], at-int64(len(t.last)))
	return err != nil && n < len(t.last) && !errors.Is(err, io.EOF) || bytes.Equal(b[:n], t.last)
}

// keep remembers the last bytes that were read.
func (t *tail) keep(read []byte) {
	if len(read) >= lastBytes {
		t.last = append(t.last[:0], read[len(read)-lastBytes:]...)
		return
	}
	t.last = append(t.last, read...)
	t.last = append(t.last[:0], t.last[max(0, len(t.last)-lastBytes):]...)
}

// shrunk tells whether the file at hand is shorter than what was read of it.
func (t *tail) shrunk() bool {
	size := t.at.size()
	return size >= 0 && size < t.place()
}

// truncated goes on after the file at hand was truncated or written anew. Where rotation
// has made a copy before, what was not read yet is read there.
func (t *tail) truncated(ctx context.Context, out sources.Emit) error {
	if c := t.id.copy(t.path, t.place()); c != nil {
		t.s.log.Info("a file was truncated; the rest of what it held is read from a copy", "path", t.path, "copy", c.file.Name())
		t.at.close()
		t.at, t.size = c, c.size()
		return nil // look finds the file itself as another one
	}
	t.s.log.Info("a file was truncated; it is read from its beginning", "path", t.path)
	if err := t.flush(ctx, out); err != nil {
		return err
	}
	t.sp.close()
	if len(t.next) > 0 { // it is not the path's own any more
		t.leave()
		return nil
	}
	if err := t.at.seek(0); err != nil {
		t.fault(err)
	}
	t.generation++
	t.at.generation, t.at.begin = t.generation, 0
	t.id = t.at.identify()
	t.begins(0)
	return t.f.registry.put(ctx, t.path, t.id)
}

// flush emits a last line that no line end closes.
func (t *tail) flush(ctx context.Context, out sources.Emit) error {
	b := t.sp.finish(t.s.clock.Now())
	t.s.count(t.sp)
	if b == nil {
		return nil
	}
	return t.s.emit(ctx, t.path, b, t.sp, t.high(), out)
}

// rotated looks whether the path has another file now, or none, and goes on
// to it once the old one has been quiet for the time that writers need to notice.
func (t *tail) rotated(ctx context.Context, out sources.Emit, read bool) (more bool, err error) {
	missing := false
	if len(t.next) == 0 {
		info, serr := os.Stat(t.path)
		missing = errors.Is(serr, fs.ErrNotExist)
		switch {
		case serr != nil && !missing:
			t.fault(serr)
			return read, nil
		case !missing && os.SameFile(info, t.at.info):
			t.quiet = time.Time{}
			return read, nil
		case !missing:
			missing = true // it has another path's file, or one that is not followed
		}
	}
	now := t.s.clock.Now()
	if read || t.quiet.IsZero() {
		t.quiet = now
	}
	if now.Sub(t.quiet) < t.s.config.RotateWait {
		return read, nil
	}
	if err := t.flush(ctx, out); err != nil {
		return false, err
	}
	t.sp.close()
	if missing {
		end := position(t.generation, t.sp.offset&offsetMask)
		t.s.note(t.path, end, end, true)
	}
	t.leave()
	t.gone = missing
	return !missing, nil
}

// leave is done with the file at hand.
func (t *tail) leave() {
	t.at.close()
	t.at = nil
	t.generation++
	t.begin = 0
}

func (t *tail) close() {
	if t.at != nil {
		t.sp.close()
		t.at.close()
		t.at = nil
	}
	for _, c := range t.next {
		c.close()
	}
	t.next = nil
}
