//go:build integration

package file

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// writer writes lines to a path, and has its files rotated now and then.
type writer struct {
	t    *testing.T
	path string

	mu   sync.Mutex // held while a line is written, and while files are rotated
	file *os.File
	n    int
}

func newWriter(t *testing.T) *writer {
	w := &writer{t: t, path: filepath.Join(t.TempDir(), "app.log")}
	w.open()
	t.Cleanup(func() { w.file.Close() })
	return w
}

func (w *writer) open() {
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	w.file = f
}

// write writes so many lines, every few of them with a pause.
func (w *writer) write(lines int) {
	for i := range lines {
		w.mu.Lock()
		_, err := fmt.Fprintln(w.file, rig.Line(w.n))
		w.n++
		w.mu.Unlock()
		if err != nil {
			w.t.Error(err)
			return
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // for the reader to be in the middle of it
		}
	}
}

func (w *writer) name(i int) string { return fmt.Sprintf("%s.%d", w.path, i) }

// shift makes room for another rotated file.
func (w *writer) shift() {
	for i := 8; i >= 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			if err := os.Rename(w.name(i)+ext, w.name(i+1)+ext); err != nil && !os.IsNotExist(err) {
				w.t.Error(err)
			}
		}
	}
}

// rename rotates as logrotate does, and has the writer open the new file late.
func (w *writer) rename() {
	w.shift()
	if err := os.Rename(w.path, w.name(1)); err != nil {
		w.t.Error(err)
	}
	w.write(20) // it has not noticed
	w.mu.Lock()
	defer w.mu.Unlock()
	w.file.Close()
	w.open()
}

// copyAndTruncate rotates as logrotate's copytruncate does. Nothing is written
// meanwhile: what is written between the two is lost to everybody.
func (w *writer) copyAndTruncate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shift()
	if err := copyTo(w.path, w.name(1), func(f io.Writer) io.WriteCloser { return nopCloser{f} }); err != nil {
		w.t.Error(err)
	}
	if err := w.file.Truncate(0); err != nil {
		w.t.Error(err)
	}
}

// compress compresses the file that was rotated last.
func (w *writer) compress() {
	if err := copyTo(w.name(1), w.name(1)+".gz", func(f io.Writer) io.WriteCloser { return gzip.NewWriter(f) }); err != nil {
		w.t.Error(err)
		return
	}
	info, err := os.Stat(w.name(1))
	if err == nil {
		err = os.Chtimes(w.name(1)+".gz", info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = os.Remove(w.name(1))
	}
	if err != nil {
		w.t.Error(err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func copyTo(from, to string, through func(io.Writer) io.WriteCloser) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	w := through(out)
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	return w.Close()
}

func following(t *testing.T, w *writer) *rig.Instance {
	return rig.New(t, "one", rig.Probing(map[string]any{
		"type": "file", "paths": []string{w.path}, "follow": true, "start": "beginning", "rotate_wait": "200ms", "poll_interval": "50ms",
	}))
}

// TestRotationsAndKillsUnderLoad kills the process, or stops it in good order, at random moments while
// lines are written and files are rotated, with it up and with it down.
func TestRotationsAndKillsUnderLoad(t *testing.T) {
	rounds := 8
	if rig.Soak() {
		rounds = 80
	}
	w := newWriter(t)
	in := following(t, w)
	r := rand.New(rand.NewPCG(rig.Seed(t), 0))
	in.StartReady(t, "the state is loaded")
	for i := range rounds {
		var writing sync.WaitGroup
		writing.Go(func() {
			w.write(1000)
			if i%2 == 0 {
				w.rename()
			}
			w.write(1000)
		})
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		if i%3 == 2 {
			in.Stop(t)
		} else {
			in.Kill(t)
		}
		writing.Wait()
		switch i % 4 { // while nobody looks
		case 1:
			w.rename()
		case 2:
			w.rename()
			w.compress()
			w.write(100)
			w.rename()
		case 3:
			w.copyAndTruncate()
		}
		w.write(100)
		in.StartReady(t, "the state is loaded")
		in.Drained(t, w.n) // rotated files are removed at last, as on any machine
	}
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, w.n)
}

// TestAFileWrittenAnewBetweenTwoLooks truncates a file of which everything was read.
func TestAFileWrittenAnewBetweenTwoLooks(t *testing.T) {
	w := newWriter(t)
	in := following(t, w)
	in.StartReady(t, "the state is loaded")
	for i := range 4 {
		w.write(500)
		in.Drained(t, w.n)
		if i == 2 {
			in.Stop(t)
		}
		w.mu.Lock()
		if err := w.file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		w.mu.Unlock()
		w.write(1500) // past where it was
		if i == 2 {
			in.StartReady(t, "the state is loaded")
		}
		in.Drained(t, w.n)
	}
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, w.n)
}
