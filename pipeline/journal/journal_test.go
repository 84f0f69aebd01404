package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is an open journal whose Run runs.
type running struct {
	*Journal
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func options(t testing.TB, fs FS) Options {
	return Options{Dir: t.TempDir(), FS: fs, SegmentBytes: 64 << 10, MaxBytes: 1 << 20, Poison: true}
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{j, t, cancel, make(chan error, 1)}
	go func() { r.done <- j.Run(ctx) }()
	return r
}

// end ends the run in peace.
func (r *running) end() {
	r.t.Helper()
	if err := r.fall(); err != nil {
		r.t.Fatal(err)
	}
}

// fall ends the run, and returns its error.
func (r *running) fall() error {
	r.stop()
	return errors.Join(<-r.done, r.Close(nil))
}

// put appends and waits.
func (r *running) put(e Entry) error {
	done := make(chan error, 1)
	if err := r.Append(context.Background(), &e, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

func (r *running) mustPut(entries ...Entry) {
	r.t.Helper()
	for _, e := range entries {
		if err := r.put(e); err != nil {
			r.t.Fatal(err)
		}
	}
}

// all returns what a reader finds up to the last synced record, as "topic@offset:value".
func (j *Journal) all(t testing.TB, from map[Stream]int64) string {
	t.Helper()
	var out []string
	for _, b := range read(t, j, from) {
		for _, r := range b.Records {
			out = append(out, fmt.Sprintf("%s@%d:%s", b.Topic, r.Offset, r.Value))
		}
	}
	return strings.Join(out, " ")
}

// read returns copies of the batches up to the last synced record.
func read(t testing.TB, j *Journal, from map[Stream]int64) []Batch {
	t.Helper()
	r := j.Reader(from)
	defer r.Close()
	j.mu.Lock()
	end := j.synced
	j.mu.Unlock()
	var out []Batch
	for r.next < end || r.given < len(r.ready) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if r.given == len(r.ready) { // what is behind the last record has no batch
			limit, err := r.wait(ctx)
			if err == nil {
				err = r.read(limit)
			}
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := r.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		c := Batch{Stream: b.Stream, Labels: b.Labels}
		for _, rec := range b.Records {
			rec.Value = append([]byte(nil), rec.Value...)
			rec.Key = append([]byte(nil), rec.Key...)
			c.Records = append(c.Records, rec)
		}
		out = append(out, c)
		b.Release()
	}
	return out
}

func entry(topic string, values ...string) Entry {
	e := Entry{Stream: Stream{Topic: topic}}
	for _, v := range values {
		e.Records = append(e.Records, pipeline.Record{Value: []byte(v), Time: time.Unix(1700000000, 5)})
	}
	return e
}

func marks(pairs ...string) Entry {
	e := Entry{Marks: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		e.Marks[pairs[i]] = pairs[i+1]
	}
	return e
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestWhatIsAppendedIsReadInOrder(t *testing.T) {
	o := options(t, nil)
	j := start(t, o)
	j.mustPut(entry("a", "1", "2"), entry("b", "3"), marks("cursor", "x"), entry("a", "4"))
	want(t, "read", j.all(t, nil), "a@0:1 a@1:2 a@3:4 b@2:3")
	want(t, "read from positions", j.all(t, map[Stream]int64{{Topic: "a"}: 1, {Topic: "b"}: 3}), "a@1:2 a@3:4")
	j.end()
	j = start(t, o)
	want(t, "read by the next process", j.all(t, nil), "a@0:1 a@1:2 a@3:4 b@2:3")
	want(t, "marks", fmt.Sprint(j.Marks()), "map[cursor:x]")
	j.mustPut(entry("a", "5"))
	want(t, "offsets go on", j.all(t, map[Stream]int64{{Topic: "a"}: 4, {Topic: "b"}: 3}), "a@4:5")
	j.end()
}

func TestARecordComesBackAsItWas(t *testing.T) {
	j := start(t, options(t, nil))
	defer j.end()
	records := []pipeline.Record{
		{Value: []byte("v"), Key: []byte("k"), Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
			Headers: []pipeline.Header{{Key: "a", Value: []byte("1")}, {Key: "", Value: nil}}},
		{Value: []byte{}, Time: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Value: []byte(strings.Repeat("x", 100_000)), Time: time.Date(12026, 1, 1, 0, 0, 0, 999_999_999, time.UTC)},
	}
	labels := map[string]string{"type": "nginx", "": "empty", "z": ""}
	if err := j.put(Entry{Stream: Stream{"topic", -3}, Labels: labels, Records: records}); err != nil {
		t.Fatal(err)
	}
	r := j.Reader(nil)
	b, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].Offset = int64(i)
	}
	if !reflect.DeepEqual(b.Records, records) || !maps.Equal(b.Labels, labels) || b.Stream != (Stream{"topic", -3}) {
		t.Errorf("came back as %v %v %v", b.Stream, b.Labels, b.Records)
	}
	b.Release()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLabelsSplitBatchesAndKeepTheOrder(t *testing.T) {
	j := start(t, options(t, nil))
	defer j.end()
	for i, label := range []string{"x", "x", "y", "x"} {
		e := entry("a", fmt.Sprint(i))
		e.Labels = map[string]string{"l": label}
		j.mustPut(e)
	}
	var got []string
	for _, b := range read(t, j.Journal, nil) {
		got = append(got, fmt.Sprintf("%s%d", b.Labels["l"], len(b.Records)))
	}
	want(t, "batches", strings.Join(got, " "), "x2 y1 x1")
}

func TestAReaderWaitsForMoreAndEndsWithTheRun(t *testing.T) {
	j := start(t, options(t, nil))
	r := j.Reader(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	got := make(chan string)
	go func() {
		defer close(got)
		for {
			b, err := r.Next(context.Background())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return
			}
			got <- string(b.Records[0].Value)
			b.Release()
		}
	}()
	for _, v := range []string{"1", "2"} {
		j.mustPut(entry("a", v))
		want(t, "read", <-got, v)
	}
	j.stop()
	if _, more := <-got; more {
		t.Error("more was read than was written")
	}
	if err := errors.Join(r.Close(), <-j.done, j.Close(nil)); err != nil {
		t.Error(err)
	}
}

func TestOneSyncServesAllThatWait(t *testing.T) {
	fs := newMemory()
	held := make(chan bool)
	first := true
	j := start(t, options(t, fs))
	fs.mu.Lock()
	fs.fail = func(op, _ string) error { // called with the lock held
		if op == "write" && first {
			first = false
			fs.mu.Unlock()
			<-held
			fs.mu.Lock()
		}
		return nil
	}
	fs.mu.Unlock()
	var all sync.WaitGroup
	done := func(error) { all.Done() }
	for range 100 {
		all.Add(1)
		e := entry("a", "x")
		if err := j.Append(t.Context(), &e, done); err != nil {
			t.Fatal(err)
		}
	}
	held <- true
	all.Wait()
	if fs.syncs > 5 { // the segment's head, what came before the write began, and the rest
		t.Errorf("%d syncs for 100 entries", fs.syncs)
	}
	j.end()
}

func TestTwoProcessesCannotShareAJournal(t *testing.T) {
	o := options(t, nil)
	j := start(t, o)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("error %v", err)
	}
	j.end()
	start(t, o).end()
}

func TestAnEntryTooLargeIsRefused(t *testing.T) {
	j := start(t, options(t, newMemory()))
	defer j.end()
	e := entry("a", "")
	e.Records[0].Value = make([]byte, maxBody)
	if err := j.Append(t.Context(), &e, func(error) {}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v", err)
	}
}

func TestAdvancePassesOverLostOffsets(t *testing.T) {
	o := options(t, nil)
	for _, at := range []int64{0, 1000} { // of an empty journal, and of one with records
		j, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		before := j.Bytes()
		j.Advance(map[Stream]int64{{Topic: "a"}: at + 100})
		if err := j.Close(nil); err != nil || j.Bytes() != before {
			t.Fatalf("error %v; a jump without a run changed the journal", err)
		}
		j, err = Open(o)
		if err != nil {
			t.Fatal(err)
		}
		j.Advance(map[Stream]int64{{Topic: "a"}: at + 100})
		ctx, cancel := context.WithCancel(t.Context())
		r := &running{j, t, cancel, make(chan error, 1)}
		go func() { r.done <- j.Run(ctx) }()
		r.mustPut(entry("a", "x"))
		want(t, "read", r.all(t, map[Stream]int64{{Topic: "a"}: at + 100}), fmt.Sprintf("a@%d:x", at+100))
		r.end()
	}
	j := start(t, o)
	want(t, "all", j.all(t, nil), "a@100:x a@1100:x")
	j.end()
}

func TestLastMarksAreKeptByClose(t *testing.T) {
	o := options(t, nil)
	j := start(t, o)
	j.mustPut(entry("a", "1"))
	j.stop()
	if err := errors.Join(<-j.done, j.Close(map[string]string{"m": "1"})); err != nil {
		t.Fatal(err)
	}
	j = start(t, o)
	want(t, "marks", fmt.Sprint(j.Marks()), "map[m:1]")
	j.end()
}

func TestOtherFilesInTheFolderDoNotMatter(t *testing.T) {
	fs := newMemory()
	o := options(t, fs)
	for _, name := range []string{"lost+found", "x.journal", strings.Repeat("g", 33) + suffix} {
		if _, err := fs.Create(filepath.Join(o.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	j := start(t, o)
	j.mustPut(entry("a", "1"))
	j.end()
}
