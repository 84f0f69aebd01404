package intake_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// sink collects "topic/id@offset:value" of what is emitted, and releases it.
type sink struct {
	mu    sync.Mutex
	lines []string
	fail  func(b *pipeline.RecordBatch) error // asked first, when set
}

func (s *sink) emit(_ context.Context, b *pipeline.RecordBatch) error {
	if b.Release != nil {
		defer b.Release()
	}
	if s.fail != nil {
		if err := s.fail(b); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range b.Records {
		s.lines = append(s.lines, fmt.Sprintf("%s/%d@%d:%s", b.Partition.Topic, b.Partition.ID, r.Offset, r.Value))
	}
	return nil
}

func (s *sink) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.lines = nil }()
	return strings.Join(s.lines, " ")
}

// clock stands still until it is moved, and fires at once.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	ch <- c.Now()
	return ch
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func direct(t *testing.T, ack string) *intake.Intake {
	t.Helper()
	c := intake.Default(intake.Direct)
	c.Ack = ack
	in, err := intake.New("in", "test", c, sources.Env{Clock: &clock{now: time.Unix(1e9, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func entry(topic string, values ...string) intake.Entry {
	e := intake.Entry{Topic: topic}
	for _, v := range values {
		e.Records = append(e.Records, pipeline.Record{Value: []byte(v), Time: time.Unix(1e9, 0)})
	}
	return e
}

// answers notes acknowledgements in their order.
type answers struct {
	mu  sync.Mutex
	all []string
}

func (a *answers) to(name string) func(error) {
	return func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			name += ": " + err.Error()
		}
		a.all = append(a.all, name)
	}
}

func (a *answers) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.all = nil }()
	return strings.Join(a.all, ", ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDirectOffsetsGoOnBehindTheRestoredPosition(t *testing.T) {
	in, s := direct(t, intake.AckAccepted), &sink{}
	from := sources.Positions{{Source: "in", Topic: "a"}: 7}
	must(t, in.Run(t.Context(), from, s.emit, func(ctx context.Context) error {
		must(t, in.Put(ctx, entry("a", "1", "2"), nil))
		must(t, in.Put(ctx, entry("b", "3"), nil))
		return in.Put(ctx, entry("a", "4"), nil)
	}))
	want(t, "records", s.take(), "a/0@7:1 a/0@8:2 b/0@0:3 a/0@9:4")
	var st sources.Stats
	in.Fill(&st)
	if st.Records != 4 || st.Bytes != 4 || len(st.Partitions) != 2 || st.Partitions[0].Next != 10 || st.Partitions[0].Lag() != 0 {
		t.Errorf("stats %+v", st)
	}
	must(t, in.Close())
}

func TestACheckpointAcknowledgesInOrder(t *testing.T) {
	in, s, a := direct(t, intake.AckCheckpoint), &sink{}, &answers{}
	p := pipeline.Partition{Source: "in"}
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		must(t, in.Put(ctx, entry("", "1", "2"), a.to("one")))
		must(t, in.Put(ctx, intake.Entry{Marks: map[string]string{"m": "2"}}, a.to("mark")))
		must(t, in.Put(ctx, entry("", "3"), a.to("two")))
		must(t, in.Commit(ctx, sources.Positions{p: 1}))
		want(t, "half an entry", a.take(), "")
		must(t, in.Commit(ctx, sources.Positions{p: 2}))
		want(t, "an entry, and the mark behind it", a.take(), "one, mark")
		must(t, in.Commit(ctx, sources.Positions{p: 2}))
		want(t, "nothing new", a.take(), "")
		return nil
	}))
	must(t, in.Commit(t.Context(), sources.Positions{p: 3}))
	want(t, "after Run", a.take(), "two")
	want(t, "a mark alone", fmt.Sprint(in.Marks()), "map[m:2]")
	must(t, in.Close())
	want(t, "all is answered", a.take(), "")
}

func TestAMarkWithNothingBeforeItIsAcknowledgedAtOnce(t *testing.T) {
	in, s, a := direct(t, intake.AckCheckpoint), &sink{}, &answers{}
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		must(t, in.Put(ctx, intake.Entry{Marks: map[string]string{"m": "1", "n": "1"}}, a.to("mark")))
		want(t, "acknowledged", a.take(), "mark")
		return in.Put(ctx, intake.Entry{Marks: map[string]string{"m": ""}}, a.to("mark"))
	}))
	want(t, "forgotten", fmt.Sprint(in.Marks()), "map[n:1]")
	must(t, in.Close())
}

func TestAcceptedAcknowledgesAtOnce(t *testing.T) {
	in, s, a := direct(t, intake.AckAccepted), &sink{}, &answers{}
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		must(t, in.Put(ctx, entry("", "1"), a.to("one")))
		want(t, "acknowledged", a.take(), "one")
		return in.PutWait(ctx, entry("", "2"))
	}))
	must(t, in.Close())
}

func TestWhatIsNotAcknowledgedIsToldAtTheEnd(t *testing.T) {
	in, s, a := direct(t, intake.AckCheckpoint), &sink{}, &answers{}
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		return in.Put(ctx, entry("", "1"), a.to("one"))
	}))
	must(t, in.Close())
	want(t, "at Close", a.take(), "one: "+intake.ErrStopped.Error())
	released := 0
	e := entry("", "2")
	e.Release = func() { released++ }
	if err := in.Put(t.Context(), e, a.to("late")); !errors.Is(err, intake.ErrStopped) || released != 1 {
		t.Errorf("error %v, released %d times", err, released)
	}
	want(t, "after the end", a.take(), "late: "+intake.ErrStopped.Error())
}

func TestAnEmitThatFailsEndsTheRun(t *testing.T) {
	gone := errors.New("gone")
	in, a := direct(t, intake.AckCheckpoint), &answers{}
	s := &sink{fail: func(*pipeline.RecordBatch) error { return gone }}
	err := in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		if err := in.Put(ctx, entry("", "1"), a.to("one")); !errors.Is(err, gone) {
			t.Errorf("Put: %v", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, gone) {
		t.Errorf("Run: %v", err)
	}
	want(t, "acknowledgement", a.take(), "one: gone")
	must(t, in.Close())
}

func TestASenderThatGivesUpEndsNothingElse(t *testing.T) {
	in, s := direct(t, intake.AckAccepted), &sink{}
	left, leave := context.WithCancel(t.Context())
	out := func(ctx context.Context, b *pipeline.RecordBatch) error {
		if string(b.Records[0].Value) == "stuck" {
			leave()
			<-ctx.Done()
			return ctx.Err()
		}
		return s.emit(ctx, b)
	}
	must(t, in.Run(t.Context(), nil, out, func(ctx context.Context) error {
		if err := in.Put(left, entry("", "stuck"), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v", err)
		}
		return in.Put(ctx, entry("", "next"), nil)
	}))
	want(t, "its offset is used up, since nobody knows what was taken", s.take(), "/0@1:next")
	must(t, in.Close())
}

func TestTheEndOfTheRunEndsPutsWithAContextOfTheirOwn(t *testing.T) {
	in := direct(t, intake.AckAccepted)
	ctx, cancel := context.WithCancel(t.Context())
	var puts sync.WaitGroup
	err := in.Run(ctx, nil, func(ctx context.Context, _ *pipeline.RecordBatch) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}, func(ctx context.Context) error {
		for range 3 {
			puts.Go(func() {
				if err := in.Put(context.Background(), entry("", "1"), nil); err == nil {
					t.Error("a Put that was cut off tells of no error")
				}
			})
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	puts.Wait()
	must(t, in.Close())
}

func TestAPipelineThatTakesNothingIsFull(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	in, err := intake.New("in", "test", intake.Default(intake.Direct), sources.Env{Clock: c})
	must(t, err)
	inside, goOn := make(chan bool), make(chan bool)
	must(t, in.Run(t.Context(), nil, func(context.Context, *pipeline.RecordBatch) error {
		inside <- true
		<-goOn
		return nil
	}, func(ctx context.Context) error {
		var put sync.WaitGroup
		put.Go(func() { _ = in.Put(ctx, entry("", "1"), nil) })
		<-inside
		if in.Full() {
			t.Error("it is full as soon as something is under way")
		}
		c.move(time.Second)
		if !in.Full() {
			t.Error("it is not full while the pipeline takes nothing for a second")
		}
		goOn <- true
		put.Wait()
		if in.Full() {
			t.Error("it is full although all was taken")
		}
		return nil
	}))
	must(t, in.Close())
}

func TestOneStreamIsAnnouncedBeforeItsFirstRecord(t *testing.T) {
	in, s := direct(t, intake.AckAccepted), &sink{}
	var told []pipeline.Partition
	in.Announce(func(parts ...pipeline.Partition) { told = append(told, parts...) })
	must(t, in.Run(t.Context(), nil, s.emit, func(context.Context) error { return nil }))
	if !slices.Equal(told, []pipeline.Partition{{Source: "in"}}) {
		t.Errorf("told %v", told)
	}
	must(t, in.Close())
}

func TestManySendersKeepTheOrderOfEachPartition(t *testing.T) {
	in, s, a := direct(t, intake.AckCheckpoint), &sink{}, &answers{}
	const senders, each = 8, 200
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		var all sync.WaitGroup
		for i := range senders {
			all.Go(func() {
				for k := range each {
					if err := in.Put(ctx, entry(fmt.Sprint(i%4), fmt.Sprint(k)), a.to("ok")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		return nil
	}))
	next := make(map[string]int)
	for _, line := range strings.Fields(s.take()) {
		var topic, id, offset, value int
		if _, err := fmt.Sscanf(line, "%d/%d@%d:%d", &topic, &id, &offset, &value); err != nil {
			t.Fatal(err)
		}
		if next[fmt.Sprint(topic)] != offset {
			t.Fatalf("%s comes where offset %d is due", line, next[fmt.Sprint(topic)])
		}
		next[fmt.Sprint(topic)]++
	}
	through := make(sources.Positions)
	for topic, n := range next {
		through[pipeline.Partition{Source: "in", Topic: topic}] = int64(n)
	}
	must(t, in.Commit(t.Context(), through))
	if n := strings.Count(a.take(), "ok"); n != senders*each {
		t.Errorf("%d acknowledgements, want %d", n, senders*each)
	}
	must(t, in.Close())
}

func TestConfigurationsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		edit func(*intake.Config)
		want string
	}{
		{func(c *intake.Config) { c.Intake = "disk" }, "intake: "},
		{func(c *intake.Config) { c.Ack = "never" }, "ack: "},
		{func(c *intake.Config) { c.Journal.SegmentBytes = 1 }, "journal.segment_bytes: "},
		{func(c *intake.Config) { c.Journal.MaxBytes = c.Journal.SegmentBytes }, "journal.max_bytes: "},
		{func(c *intake.Config) { c.Journal.Missing = "ignore" }, "journal.missing: "},
	} {
		config := intake.Default(intake.Direct)
		c.edit(&config)
		if _, err := intake.New("in", "test", config, sources.Env{}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("error %v, want one of %s", err, c.want)
		}
	}
}
