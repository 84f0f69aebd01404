package intake_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// journaled makes an intake with a journal. edit may be nil.
func journaled(t *testing.T, dir string, edit func(*intake.Config)) *intake.Intake {
	t.Helper()
	c := intake.Default(intake.Journal)
	c.Journal.SegmentBytes, c.Journal.MaxBytes = 64<<10, 128<<10
	if edit != nil {
		edit(&c)
	}
	in, err := intake.New("in", "test", c, sources.Env{Clock: &clock{now: time.Unix(1e9, 0)}, Dir: dir})
	must(t, err)
	return in
}

// session runs an intake to the end of receive, and closes it.
func session(t *testing.T, in *intake.Intake, from sources.Positions, receive func(ctx context.Context)) string {
	t.Helper()
	s := &sink{}
	must(t, in.Run(t.Context(), from, s.emit, func(ctx context.Context) error {
		receive(ctx)
		return nil
	}))
	must(t, in.Close())
	return s.take()
}

func part(topic string) pipeline.Partition { return pipeline.Partition{Source: "in", Topic: topic} }

func TestAJournalGivesWhatWasNotCounted(t *testing.T) {
	dir := t.TempDir()
	got := session(t, journaled(t, dir, nil), nil, func(ctx context.Context) {})
	want(t, "an empty journal", got, "")
	in := journaled(t, dir, nil)
	got = session(t, in, nil, func(ctx context.Context) {
		must(t, in.PutWait(ctx, entry("a", "1", "2")))
		must(t, in.PutWait(ctx, entry("b", "3")))
		must(t, in.PutWait(ctx, intake.Entry{Marks: map[string]string{"m": "7"}}))
		must(t, in.PutWait(ctx, entry("a", "4")))
	})
	want(t, "while it runs", strings.Join(strings.Fields(got), " "), "a/0@0:1 a/0@1:2 b/0@2:3 a/0@3:4")
	in = journaled(t, dir, nil)
	got = session(t, in, sources.Positions{part("a"): 2}, func(context.Context) {
		want(t, "marks", fmt.Sprint(in.Marks()), "map[m:7]")
	})
	want(t, "after a crash, behind the positions", got, "b/0@2:3 a/0@3:4")
	var st sources.Stats
	in.Fill(&st)
	if len(st.Partitions) != 2 || st.Partitions[0].Next != 4 || st.Partitions[0].Lag() != 0 || st.Records != 2 {
		t.Errorf("stats %+v", st)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "in", "journal", "*.journal")); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

func TestAcknowledgementsOfAJournalAreInOrderAndAllCome(t *testing.T) {
	in, a := journaled(t, t.TempDir(), nil), &answers{}
	released := 0
	session(t, in, nil, func(ctx context.Context) {
		for i := range 5 {
			e := entry("", "x")
			e.Release = func() { released++ }
			must(t, in.Put(ctx, e, a.to(fmt.Sprint(i))))
		}
	})
	want(t, "acknowledged", a.take(), "0, 1, 2, 3, 4")
	if released != 5 {
		t.Errorf("released %d times", released)
	}
	if err := in.Put(t.Context(), entry("", "x"), a.to("late")); !errors.Is(err, intake.ErrStopped) {
		t.Errorf("error %v", err)
	}
	want(t, "acknowledged", a.take(), "late: "+intake.ErrStopped.Error())
}

func TestCommitsTrimAndAFullJournalAsksToWait(t *testing.T) {
	dir := t.TempDir()
	in := journaled(t, dir, nil)
	line := strings.Repeat("x", 10_000)
	session(t, in, nil, func(ctx context.Context) {
		n := int64(0)
		for !in.Full() {
			must(t, in.PutWait(ctx, entry("", line)))
			n++
		}
		must(t, in.Commit(ctx, sources.Positions{part(""): n}))
		if in.Full() {
			t.Error("it is full although everything was counted")
		}
	})
}

func TestStateAndJournalOfDifferentMomentsAreRefused(t *testing.T) {
	fill := func(t *testing.T, dir string, trim bool) {
		in := journaled(t, dir, func(c *intake.Config) { c.Journal.MaxBytes = 1 << 20 })
		session(t, in, nil, func(ctx context.Context) {
			for range 20 {
				must(t, in.PutWait(ctx, entry("a", strings.Repeat("x", 10_000))))
			}
			if trim {
				must(t, in.Commit(ctx, sources.Positions{part("a"): 20}))
			}
		})
	}
	for _, c := range []struct {
		name string
		trim bool
		from sources.Positions
		want string // in the error; "" where all is well
		rest string // what fresh goes on with
	}{
		{"a state of an earlier moment", true, sources.Positions{part("a"): 1}, "holds nothing before", "a/0@18 a/0@19 a/0@20"},
		{"a new state", true, nil, "holds nothing before", "a/0@18 a/0@19 a/0@20"},
		{"a journal that was lost in part", false, sources.Positions{part("a"): 21}, "ends at 20", "a/0@21"},
		{"a partition that the journal never saw", false, sources.Positions{part("a"): 20, part("b"): 7}, "ends at 0", "a/0@20"},
		{"the same moment", true, sources.Positions{part("a"): 20}, "", "a/0@20"},
		{"an earlier moment, and all is there", false, sources.Positions{part("a"): 18}, "", "a/0@18 a/0@19 a/0@20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, c.trim)
			if c.want != "" {
				in := journaled(t, dir, nil)
				err := in.Run(t.Context(), c.from, (&sink{}).emit, func(context.Context) error { return nil })
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "journal.missing") {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				must(t, in.Close())
			}
			in := journaled(t, dir, func(cfg *intake.Config) { cfg.Journal.Missing = "fresh" })
			got := session(t, in, c.from, func(ctx context.Context) { must(t, in.PutWait(ctx, entry("a", "y"))) })
			want(t, "what is left", strings.NewReplacer(":"+strings.Repeat("x", 10_000), "", ":y", "").Replace(got), c.rest)
			var st sources.Stats
			in.Fill(&st)
			if (st.Gaps > 0) != (c.want != "") {
				t.Errorf("%d gaps", st.Gaps)
			}
		})
	}
}

func TestWithoutAStateTheJournalKeepsThePositions(t *testing.T) {
	dir := t.TempDir()
	open := func() *intake.Intake {
		c := intake.Default(intake.Journal)
		c.Journal.Dir = dir
		in, err := intake.New("in", "test", c, sources.Env{})
		must(t, err)
		return in
	}
	in := open()
	session(t, in, nil, func(ctx context.Context) {
		must(t, in.PutWait(ctx, entry("a", "1", "2", "3")))
		must(t, in.Commit(ctx, sources.Positions{part("a"): 1}))
		want(t, "marks of its own are nobody's business", fmt.Sprint(in.Marks()), "map[]")
	})
	in = open()
	s := &sink{}
	must(t, in.Run(t.Context(), nil, s.emit, func(context.Context) error { return nil }))
	want(t, "behind what was committed", s.take(), "a/0@1:2 a/0@2:3")
	must(t, in.Commit(t.Context(), sources.Positions{part("a"): 3})) // after Run, as the last commit is
	must(t, in.Close())
	in = open()
	want(t, "nothing is left", session(t, in, nil, func(context.Context) {}), "")
}

func TestAPipelineThatFailsEndsAJournaledRun(t *testing.T) {
	gone := errors.New("gone")
	in := journaled(t, t.TempDir(), nil)
	s := &sink{fail: func(*pipeline.RecordBatch) error { return gone }}
	err := in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		if err := in.PutWait(ctx, entry("", "1")); err != nil {
			return err // the pipeline has failed before it was told that the entry is safe
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, gone) {
		t.Errorf("Run: %v", err)
	}
	must(t, in.Close())
}

func TestAReceiverThatFailsEndsAJournaledRun(t *testing.T) {
	gone := errors.New("gone")
	in := journaled(t, t.TempDir(), nil)
	if err := in.Run(t.Context(), nil, (&sink{}).emit, func(context.Context) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("Run: %v", err)
	}
	must(t, in.Close())
}

func TestAJournalIsSafeWhileThePipelineIsStuck(t *testing.T) {
	in := journaled(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	err := in.Run(ctx, nil, func(ctx context.Context, b *pipeline.RecordBatch) error {
		<-ctx.Done()
		b.Release()
		return ctx.Err()
	}, func(ctx context.Context) error {
		for range 10 {
			must(t, in.PutWait(ctx, entry("", "1")))
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	must(t, in.Close())
}

func TestAPlaceForTheJournalIsAskedFor(t *testing.T) {
	_, err := intake.New("in", "test", intake.Default(intake.Journal), sources.Env{})
	if err == nil || !strings.Contains(err.Error(), "state.dir") || !strings.Contains(err.Error(), "intake: direct") {
		t.Errorf("error %v", err)
	}
}

func TestDirectWarnsOfAJournalThatIsLeft(t *testing.T) {
	dir := t.TempDir()
	in := journaled(t, dir, nil)
	session(t, in, nil, func(ctx context.Context) { must(t, in.PutWait(ctx, entry("", "1"))) })
	var log strings.Builder
	c := intake.Default(intake.Direct)
	in, err := intake.New("in", "test", c, sources.Env{Dir: dir, Log: textLog(&log)})
	must(t, err)
	session(t, in, nil, func(context.Context) {})
	if !strings.Contains(log.String(), "journal of before") {
		t.Errorf("log %q", log.String())
	}
}

func TestManySendersIntoAJournal(t *testing.T) {
	in, a := journaled(t, t.TempDir(), func(c *intake.Config) { c.Journal.MaxBytes = 1 << 20 }), &answers{}
	const senders, each = 8, 300
	counted := make(map[string]int)
	s := &sink{}
	must(t, in.Run(t.Context(), nil, s.emit, func(ctx context.Context) error {
		var all sync.WaitGroup
		for i := range senders {
			all.Go(func() {
				for k := range each {
					if err := in.Put(ctx, entry(fmt.Sprint(i), fmt.Sprint(k)), a.to("ok")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		return nil
	}))
	must(t, in.Close())
	for _, line := range strings.Fields(s.take()) {
		topic, value, _ := strings.Cut(strings.NewReplacer("/0@", " ").Replace(line), ":")
		topic, _, _ = strings.Cut(topic, " ")
		if value != fmt.Sprint(counted[topic]) {
			t.Fatalf("%s comes where %d is due", line, counted[topic])
		}
		counted[topic]++
	}
	if want := map[string]int{"0": each, "1": each, "2": each, "3": each, "4": each, "5": each, "6": each, "7": each}; !maps.Equal(counted, want) {
		t.Errorf("counted %v", counted)
	}
	if n := strings.Count(a.take(), "ok"); n != senders*each {
		t.Errorf("%d acknowledgements", n)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	verify(m)
}

func TestTheJournalLeavesTheStateItsRoom(t *testing.T) {
	for _, elsewhere := range []string{"", t.TempDir()} {
		c := intake.Default(intake.Journal)
		c.Journal.Dir = elsewhere
		in, err := intake.New("in", "test", c, sources.Env{Dir: t.TempDir(), Reserve: func() int64 { return 1 << 60 }})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		a := &answers{}
		err = in.Run(ctx, nil, (&sink{}).emit, func(ctx context.Context) error {
			must(t, in.Put(ctx, entry("", "1"), a.to("one")))
			for !in.Full() {
				runtime.Gosched()
			}
			cancel()
			return ctx.Err()
		})
		if err == nil || !strings.Contains(err.Error(), "stay free") {
			t.Errorf("Run: %v", err)
		}
		if got := a.take(); !strings.Contains(got, "stay free") {
			t.Errorf("acknowledged: %q", got)
		}
		var st sources.Stats
		in.Fill(&st)
		if st.Errors == 0 {
			t.Error("the trouble is not counted")
		}
		must(t, in.Close())
	}
}
