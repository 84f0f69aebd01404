package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childEnv names the folder in which this binary, run again, works until it is killed.
const childEnv = "SLUICE_STATE_CHILD"

// storySeed is what all crash tests' epochs are made of, so that a test knows
// what an epoch holds, whoever committed it.
const storySeed = 7

// tell makes the model's next epoch: the same one whenever it is asked.
func (m *model) tell() *Epoch {
	r := rand.New(rand.NewPCG(storySeed, uint64(len(m.epochs))))
	return m.change(r, r.IntN(3000), 4000)
}

// tellTo takes the model to an epoch.
func (m *model) tellTo(epoch uint64) {
	for uint64(len(m.epochs)) <= epoch {
		m.tell()
		m.committed()
	}
}

// crashOptions make folds, and tables, frequent.
func crashOptions(dir string) Options {
	return Options{Dir: dir, MemTable: leastMemTable, FoldBytes: 2 << 20, FoldEpochs: 7, FoldShare: 0.1, Reserve: 1, Workers: 2}
}

// child commits epoch after epoch and says so.
func child(dir string) error {
	s, err := Open(crashOptions(dir))
	if err != nil {
		return err
	}
	m := newModel()
	m.tellTo(s.Last())
	if err := m.check(s); err != nil {
		return err
	}
	for {
		done, err := s.Commit(context.Background(), m.tell())
		if err != nil {
			return err
		}
		m.committed()
		fmt.Println(done.Epoch)
	}
}

// worker is a child that runs.
type worker struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	said  uint64 // the last epoch that it said was durable
	errs  strings.Builder
}

func startWorker(t *testing.T, dir string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), childEnv+"="+dir)
	w.cmd.Stderr = &w.errs
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

// hear waits until the worker has said n epochs more.
func (w *worker) hear(t *testing.T, n int) {
	t.Helper()
	for range n {
		if !w.lines.Scan() {
			t.Fatalf("the process that commits ended: %s", w.errs.String())
		}
		w.note(t, w.lines.Text())
	}
}

func (w *worker) note(t *testing.T, line string) {
	t.Helper()
	epoch, err := strconv.ParseUint(line, 10, 64)
	if err != nil {
		t.Fatalf("the process that commits says %q", line)
	}
	w.said = epoch
}

// kill ends it as a crash does, and hears what it had still said.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for w.lines.Scan() {
		w.note(t, w.lines.Text())
	}
	_ = w.cmd.Wait() // it was killed
}

// pause stops it: it is as if it had crashed there, but goes on. Once the
// signal is sent its threads may still run for a while.
func (w *worker) pause(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(w.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || !status.Stopped() {
			t.Fatalf("the process that commits did not stop: %v, %v: %s", status, err, w.errs.String())
		}
		return
	}
}

// resume lets it go on.
func (w *worker) resume(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// ahead tells whether the last epoch is beyond what the folder is known to hold for good.
func (w *worker) ahead(t *testing.T, dir string) bool {
	t.Helper()
	f, err := readFormat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return w.said > f.floor
}

// copyDir copies what is in a folder.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// reopened opens a folder and compares it with the story. It returns the epoch
// that was found, or the error with which the folder was refused.
func reopened(dir string, m *model) (epoch uint64, refused error, err error) {
	s, err := Open(crashOptions(dir))
	if err != nil {
		return 0, err, nil
	}
	m.tellTo(s.Last())
	err = m.check(s)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		refused, err = err, nil
	}
	return s.Last(), refused, errors.Join(err, s.Close())
}

// TestKilled kills a process that commits, at moments that nobody chose, and
// lets another go on where it was.
func TestKilled(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	if os.Getenv("SLUICE_SOAK") != "" {
		rounds = 200
	}
	dir := t.TempDir()
	m := newModel()
	r := rand.New(rand.NewPCG(3, 3))
	for round := range rounds {
		w := startWorker(t, dir)
		w.hear(t, 1+r.IntN(25))
		w.kill(t)
		image := copyDir(t, dir)
		epoch, refused, err := reopened(image, m)
		if err != nil || refused != nil {
			t.Fatalf("round %d: %v", round, errors.Join(err, refused))
		}
		if epoch < w.said {
			t.Fatalf("round %d: epoch %d was durable, and %d is the last that was found", round, w.said, epoch)
		}
	}
}

// damage is one way to spoil a file.
type damage struct {
	name  string
	spoil func(r *rand.Rand, data []byte) []byte
}

var damages = []damage{
	{"cut", func(r *rand.Rand, data []byte) []byte { return data[:r.IntN(len(data))] }},
	{"cut to nothing", func(_ *rand.Rand, _ []byte) []byte { return nil }},
	{"cut near the end", func(r *rand.Rand, data []byte) []byte { return data[:len(data)-1-r.IntN(min(len(data), 64))] }},
	{"one bit", func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= 1 << r.UintN(8)
		return data
	}},
	{"one bit at the start", func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(min(len(data), 64))] ^= 1 << r.UintN(8)
		return data
	}},
	{"one bit at the end", func(r *rand.Rand, data []byte) []byte {
		data[len(data)-1-r.IntN(min(len(data), 64))] ^= 1 << r.UintN(8)
		return data
	}},
	{"a page of zeros", func(r *rand.Rand, data []byte) []byte {
		at := r.IntN(len(data)) &^ 4095
		clear(data[at:min(at+4096, len(data))])
		return data
	}},
	{"random bytes", func(r *rand.Rand, data []byte) []byte {
		at := r.IntN(len(data))
		for i := at; i < min(at+1+r.IntN(300), len(data)); i++ {
			data[i] = byte(r.UintN(256))
		}
		return data
	}},
	{"random bytes at the end", func(r *rand.Rand, data []byte) []byte {
		for range 1 + r.IntN(100) {
			data = append(data, byte(r.UintN(256)))
		}
		return data
	}},
}

// TestTornWrites spoils every file of states that were copied while a process
// worked on them. What is opened then is what some epoch was, or nothing is.
func TestTornWrites(t *testing.T) {
	images, each := 1, 1
	if os.Getenv("SLUICE_SOAK") != "" {
		images, each = 5, 20
	}
	dir := t.TempDir()
	w := startWorker(t, dir)
	var copies []string
	for range images {
		w.hear(t, 25)
		w.pause(t)
		for !w.ahead(t, dir) { // now and then all is in tables just then, and nothing can get lost
			w.resume(t)
			w.hear(t, 1)
			w.pause(t)
		}
		copies = append(copies, copyDir(t, dir))
		w.resume(t)
	}
	w.kill(t)
	m := newModel()
	outcomes := map[string]int{}
	for i, image := range copies {
		last, refused, err := reopened(copyDir(t, image), m)
		if err != nil || refused != nil {
			t.Fatalf("image %d: %v", i, errors.Join(err, refused))
		}
		t.Logf("image %d is of epoch %d", i, last)
		entries, err := os.ReadDir(image)
		if err != nil {
			t.Fatal(err)
		}
		for f, e := range entries {
			for d, how := range damages {
				if raceEnabled && (f+d)%3 != 0 && filepath.Ext(e.Name()) != logExt { // what is to be seen is on the disk, and the race detector makes it slow
					continue
				}
				for n := range each {
					seed := uint64(i*100000 + f*1000 + d*10 + n)
					outcomes[tear(t, image, e.Name(), how, seed, last, m)]++
				}
			}
		}
	}
	t.Log(outcomes)
	for _, outcome := range []string{"unharmed", "an earlier epoch", "refused"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no damage led to: %s", outcome)
		}
	}
}

// tear spoils one file of a copy of an image and opens it.
func tear(t *testing.T, image, name string, how damage, seed, last uint64, m *model) string {
	t.Helper()
	dir := copyDir(t, image)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		return "empty"
	}
	data = how.spoil(rand.New(rand.NewPCG(seed, 9)), used(name, data))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("%s: %s, seed %d", name, how.name, seed)
	if info, err := Inspect(dir); err == nil && info.Last > last {
		t.Fatalf("%s: inspect found epoch %d", what, info.Last)
	}
	epoch, refused, err := reopened(dir, m)
	var damaged *DamagedError
	switch {
	case err != nil:
		t.Fatalf("%s: %v", what, err)
	case refused != nil && !errors.As(refused, &damaged):
		t.Fatalf("%s: refused with %v", what, refused)
	case refused != nil:
		if !strings.Contains(refused.Error(), "sluice state inspect") {
			t.Fatalf("%s: the error names no way out: %v", what, refused)
		}
		return "refused"
	case epoch > last:
		t.Fatalf("%s: epoch %d was not committed", what, epoch)
	case epoch < last:
		return "an earlier epoch"
	}
	return "unharmed"
}

// used leaves out the zeros behind what was written of a log, so that damage
// does not all go there.
func used(name string, data []byte) []byte {
	if filepath.Ext(name) != logExt {
		return data
	}
	end := len(data)
	for end > 1 && data[end-1] == 0 {
		end--
	}
	return slices.Clip(data[:end])
}
