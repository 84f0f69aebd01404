package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"sluice/sources"
)

// tail follows one path. Its file is open from the first look on; when the
// path gets another file, the old one is read to its end first.
type tail struct {
	s          *Source
	path       string
	generation int64
	begin      int64 // byte where the file at hand is begun

	file    *os.File
	info    os.FileInfo // identity of file
	size    int64
	sp      *splitter
	quiet   time.Time // since when the renamed file has brought nothing; zero while it is not renamed
	failing bool      // the last look failed; it was logged
	gone    bool      // the path has no file any more, and the old one is read
}

// step reads what is new, within a round; more says that there may be more at once.
func (t *tail) step(ctx context.Context, out sources.Emit) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if t.file == nil && !t.open() {
		return false, nil
	}
	if err := t.truncated(ctx, out); err != nil {
		return false, err
	}
	n, err := t.read(ctx, out)
	if err != nil || n >= roundBytes {
		return err == nil, err
	}
	return t.rotated(ctx, out, n > 0)
}

// open opens the path's file; false when it cannot, which is logged once.
func (t *tail) open() bool {
	f, err := os.Open(t.path)
	if err == nil {
		t.info, err = f.Stat()
	}
	if err == nil {
		_, err = f.Seek(t.begin, io.SeekStart)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		t.gone = errors.Is(err, fs.ErrNotExist)
		if !t.gone {
			t.fault(err)
		}
		return false
	}
	t.recover()
	t.file, t.size, t.quiet = f, t.info.Size(), time.Time{}
	t.sp = t.s.newSplitter(position(t.generation, t.begin))
	t.s.note(t.path, t.sp.offset, position(t.generation, t.size), false)
	return true
}

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

// read reads to the file's end, or a round.
func (t *tail) read(ctx context.Context, out sources.Emit) (n int, err error) {
	for n < roundBytes {
		got, rerr := t.sp.read(t.file)
		n += got
		if got > 0 {
			t.recover()
			if info, err := t.file.Stat(); err == nil {
				t.size = info.Size()
			}
			if err := t.s.emitAll(ctx, t.path, t.sp, position(t.generation, t.size), out); err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			t.s.note(t.path, t.sp.offset, position(t.generation, t.size), false)
			return n, nil
		}
		if rerr != nil {
			t.fault(rerr)
			return n, nil
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// truncated begins the file again when it has become shorter than what was read of it.
func (t *tail) truncated(ctx context.Context, out sources.Emit) error {
	info, err := t.file.Stat()
	if err != nil {
		t.fault(err)
		return nil
	}
	read := t.sp.offset&offsetMask + int64(t.sp.end-t.sp.start)
	if info.Size() >= read {
		return nil
	}
	t.s.log.Info("a file was truncated; it is read from its beginning", "path", t.path)
	if err := t.flush(ctx, out); err != nil {
		return err
	}
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		t.fault(err)
		return nil
	}
	t.sp.close()
	t.generation++
	t.sp = t.s.newSplitter(position(t.generation, 0))
	return nil
}

// flush emits a last line that no line end closes.
func (t *tail) flush(ctx context.Context, out sources.Emit) error {
	b := t.sp.finish(t.s.clock.Now())
	t.s.count(t.sp)
	if b == nil {
		return nil
	}
	return t.s.emit(ctx, t.path, b, t.sp, position(t.generation, t.size), out)
}

// rotated looks whether the path has another file now, or none, and goes on
// to it once the old one has been quiet for the time that writers need to notice.
func (t *tail) rotated(ctx context.Context, out sources.Emit, read bool) (more bool, err error) {
	info, serr := os.Stat(t.path)
	missing := errors.Is(serr, fs.ErrNotExist)
	if serr != nil && !missing {
		t.fault(serr)
		return read, nil
	}
	if !missing && os.SameFile(info, t.info) {
		t.quiet = time.Time{}
		return read, nil
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
	t.close()
	t.generation++
	t.begin = 0
	t.gone = missing
	if missing {
		t.s.note(t.path, position(t.generation-1, t.size), position(t.generation-1, t.size), true)
	}
	return !missing, nil
}

func (t *tail) close() {
	if t.file == nil {
		return
	}
	t.sp.close()
	t.file.Close()
	t.file = nil
}
