package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// running is a Deliverer at work; the clock is that of the test's bubble.
type running struct {
	*Deliverer
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	if o.Jitter == nil {
		o.Jitter = func() float64 { return 1 } // waits are as long as they may be
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Deliverer: d, t: t, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- d.Run(ctx) }()
	return r
}

func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

// await waits, by the wall clock, until the sinks stand as wanted: for tests on a real disk, which no bubble holds.
func (r *running) await(what string, holds func([]Stats) bool) {
	r.t.Helper()
	for late := time.Now().Add(time.Minute); !holds(r.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			r.t.Fatalf("%s: it stands at %+v after a minute", what, r.Stats())
		}
	}
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestEachSinkGetsWhatIsReleasedAndAddressedToItInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b, dead := newFakeLog(), &fakeSink{name: "a"}, &fakeSink{name: "b"}, &fakeDead{}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}}, DeadLetters: dead})
		upTo := log.add(t, alert("1"), alert("2", "a"), letter("x", ""), alert("3", "b"), alert("4", "a", "b"), alert("5", "gone"))
		log.entries[3].Payload = nil // 3 was discarded
		log.add(t, alert("6"))
		synctest.Wait()
		expect(t, "before the release", a.taken()+b.taken()+dead.taken(), "")
		r.Release(upTo)
		synctest.Wait()
		expect(t, "a", a.taken(), "1 2 4")
		expect(t, "b", b.taken(), "1 4")
		expect(t, "dead letters", dead.taken(), "undecodable:x")
		if n := log.kept(); n != 1 {
			t.Errorf("%d entries are kept, want only the one that is not released", n)
		}
		r.Release(upTo + 1)
		synctest.Wait()
		expect(t, "a", a.taken(), "6")
		r.end()
	})
}

func TestAfterARestartEachSinkGoesOnAtItsCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := newFakeLog(), &fakeSink{name: "a"}, &fakeSink{name: "b", down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}}})
		r.Release(log.add(t, alerts(1, 3)...))
		synctest.Wait()
		expect(t, "a", a.taken(), "1 2 3")
		r.end()

		b.set(false)
		c := &fakeSink{name: "c"} // new: it starts at the oldest entry kept
		r = start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}, {Sink: c, OnFull: Block}}})
		r.Release(log.add(t, alert("4")))
		synctest.Wait()
		expect(t, "a", a.taken(), "4")
		expect(t, "b", b.taken(), "1 2 3 4")
		expect(t, "c", c.taken(), "1 2 3 4")
		if n := log.kept(); n != 0 {
			t.Errorf("%d entries are kept, want none", n)
		}
		r.end()
	})
}

func TestASinkThatIsDownHoldsNoOtherAndIsTriedAgainWithWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		log, up, down := newFakeLog(), &fakeSink{name: "up"}, &fakeSink{name: "down", down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: up, OnFull: Block}, {Sink: down, OnFull: Block}}, Logger: slog.New(&lines)})
		r.Release(log.add(t, alert("1")))
		synctest.Wait()
		r.Release(log.add(t, alert("2")))
		synctest.Wait()
		expect(t, "up", up.taken(), "1 2")
		if st := r.Stats()[1]; st.Waiting != 2 || !st.Failing || st.Cursor > 1 || st.Delivered != 0 {
			t.Errorf("down: %+v", st)
		}
		// The waits are 100, 200, … 6400 ms, and then 10 s: the attempts come
		// after 0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7 and 22.7 s, all with the same batch.
		time.Sleep(22700*time.Millisecond - time.Nanosecond)
		expect(t, "attempts", strings.Join(down.attempts(), ","), "1,1,1,1,1,1,1,1")
		down.set(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		expect(t, "down", down.taken(), "1 2")
		expect(t, "log", strings.Join(lines.take(), "; "),
			"a sink does not take alerts; they wait in the outbox; the sink takes alerts again")
		r.end()
	})
}

func TestABlockingSinkOverItsQuotaMakesTheSourcesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := newFakeLog(), &fakeSink{name: "s", down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: Block}}, Quota: 10 * entrySize(t)})
		r.Release(log.add(t, alerts(1, 9)...))
		synctest.Wait()
		if r.Blocked() {
			t.Error("blocked below the quota")
		}
		<-r.Unblocked()
		r.Release(log.add(t, alerts(1, 9)...))
		synctest.Wait()
		if !r.Blocked() || !r.Stats()[0].Blocking {
			t.Error("not blocked over the quota")
		}
		s.set(false)
		<-r.Unblocked()
		synctest.Wait()
		expect(t, "s", s.taken(), ids(1, 9)+" "+ids(1, 9))
		if r.Blocked() {
			t.Error("blocked though nothing waits")
		}
		r.end()
	})
}

// entrySize is the size of an entry of an alert with a UUID of one letter.
func entrySize(t *testing.T) int64 {
	it := alert("1")
	b, err := it.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(b))
}

func TestOverItsQuotaASinkLosesItsOldestAsItsPolicySays(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		dead   string
	}{
		{DropOldest, ""},
		{DeadLetter, "over_quota:1@s over_quota:2@s over_quota:3@s over_quota:4@s"},
	} {
		t.Run(string(test.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s, other, dead := newFakeLog(), &fakeSink{name: "s", down: true}, &fakeSink{name: "o"}, &fakeDead{}
				r := start(t, Options{
					Log: log, Sinks: []Target{{Sink: s, OnFull: test.policy}, {Sink: other, OnFull: Block}}, DeadLetters: dead, Quota: 5 * entrySize(t),
				})
				r.Release(log.add(t, alerts(1, 9)...))
				synctest.Wait()
				if r.Blocked() {
					t.Error("the sources wait")
				}
				s.set(false)
				time.Sleep(time.Minute)
				expect(t, "s", s.taken(), "5 6 7 8 9")
				expect(t, "the other", other.taken(), ids(1, 9))
				expect(t, "dead letters", dead.taken(), test.dead)
				want := Stats{Sink: "s", OnFull: test.policy, Cursor: 10, Delivered: 5, OverQuota: 4, Retries: 1, Breaker: BreakerClosed}
				if test.policy == DeadLetter {
					want.DeadLetters = 4
				}
				if got := r.Stats()[0]; got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				r.end()
			})
		})
	}
}

func TestWhatTheDeadLettersDoNotTakeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", down: true}, &fakeDead{down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: DeadLetter}}, DeadLetters: dead, Quota: 5 * entrySize(t)})
		r.Release(log.add(t, alerts(1, 9)...))
		synctest.Wait()
		if !r.Blocked() {
			t.Error("the disk fills and the sources do not wait")
		}
		time.Sleep(time.Hour)
		if st := r.Stats()[0]; st.Waiting != 9 {
			t.Errorf("%d wait, want 9", st.Waiting)
		}
		dead.set(false)
		s.set(false)
		time.Sleep(time.Minute)
		expect(t, "s and dead letters", s.taken()+", "+dead.taken(),
			"5 6 7 8 9, over_quota:1@s over_quota:2@s over_quota:3@s over_quota:4@s")
		if r.Blocked() {
			t.Error("still blocked")
		}
		r.end()
	})
}

func TestRefusedAlertsGoToTheDeadLettersBeforeTheCursorMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", refuse: "2"}, &fakeDead{down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: Block}}, DeadLetters: dead})
		r.Release(log.add(t, alerts(1, 3)...))
		synctest.Wait()
		if st := r.Stats()[0]; st.Waiting != 3 || st.Rejected != 0 {
			t.Errorf("%+v", st)
		}
		dead.set(false)
		time.Sleep(time.Minute)
		expect(t, "dead letters", dead.taken(), "rejected:2@s")
		expect(t, "attempts", strings.Join(s.attempts(), ","), "1 3") // not again for the dead letters' sake
		if st := r.Stats()[0]; st.Waiting != 0 || st.Rejected != 1 || st.Delivered != 2 || st.DeadLetters != 1 || st.Failing {
			t.Errorf("%+v", st)
		}
		r.end()
	})
}

func TestWhatAFailedBatchDeliveredIsNotGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dead := newFakeLog(), &fakeDead{}
		s := &fakeSink{name: "s", part: 2, refuse: "4"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: Block}}, DeadLetters: dead, Batch: 5})
		r.Release(log.add(t, alerts(1, 5)...))
		if left := r.Drain(t.Context(), time.Minute); left != 0 {
			t.Errorf("%d left", left)
		}
		if got := s.taken(); got != "1 2 3 5" {
			t.Errorf("taken: %s", got)
		}
		if got := strings.Join(s.attempts(), " | "); got != "1 2 3 5 | 3 5 | 5" {
			t.Errorf("attempts: %s", got)
		}
		if got := dead.taken(); !strings.Contains(got, "4@s") {
			t.Errorf("dead letters: %q", got)
		}
		r.end()
	})
}

func TestRefusedAlertsAreCountedWhereThereAreNoDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		log, s := newFakeLog(), &fakeSink{name: "s", refuse: "2"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: Block}}, Logger: slog.New(&lines)})
		r.Release(log.add(t, append(alerts(1, 3), letter("x", "v"), letter("y", "v"))...))
		synctest.Wait()
		if st := r.Stats()[0]; st.Rejected != 1 || st.DeadLetters != 0 {
			t.Errorf("%+v", st)
		}
		expect(t, "log", strings.Join(lines.take(), "; "),
			"dead letters are stored and there is no place for them any more; they are dropped; a sink refused alerts for good")
		if log.kept() != 0 {
			t.Error("entries that nobody takes are kept")
		}
		r.end()
	})
}

func TestARefusedDeadLetterIsCountedAndHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dead := newFakeLog(), &fakeDead{}
		r := start(t, Options{Log: log, DeadLetters: dead})
		r.Release(log.add(t, letter("x", "enormous"), letter("y", "")))
		synctest.Wait()
		expect(t, "dead letters", dead.taken(), "undecodable:y")
		if st := r.Stats()[0]; st.Sink != DeadLettersName || st.Rejected != 1 || st.Delivered != 1 {
			t.Errorf("%+v", st)
		}
		r.end()
	})
}

func TestASinkThatIsGoneHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		log, a := newFakeLog(), &fakeSink{name: "a"}
		log.cursors["old"] = 1
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}}, Logger: slog.New(&lines)})
		expect(t, "log", strings.Join(lines.take(), "; "), "a sink is no longer configured; what waited for it is let go")
		r.Release(log.add(t, alert("1"), alert("2", "old")))
		synctest.Wait()
		if log.kept() != 0 || len(log.cursors) != 1 {
			t.Errorf("%d entries, cursors %v", log.kept(), log.cursors)
		}
		r.end()
	})
}

func TestDrainWaitsForSinksWithinItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, up, down := newFakeLog(), &fakeSink{name: "up", hold: make(chan struct{})}, &fakeSink{name: "down", down: true}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: up, OnFull: Block}, {Sink: down, OnFull: Block}}})
		r.Release(log.add(t, alerts(1, 3)...))
		time.Sleep(9 * time.Second) // the next attempt is seconds away
		before := len(down.attempts())
		go func() {
			time.Sleep(time.Second)
			up.hold <- struct{}{}
		}()
		begin := time.Now()
		left := r.Drain(t.Context(), 2*time.Second)
		if took := time.Since(begin); left != 3 || took != 2*time.Second {
			t.Errorf("%d left after %v, want 3 after 2s", left, took)
		}
		if len(down.attempts()) == before {
			t.Error("the sink that was down was not tried again at once")
		}
		down.set(false)
		if left := r.Drain(t.Context(), time.Minute); left != 0 {
			t.Errorf("%d left", left)
		}
		r.end()
	})
}

func TestASlowSinkReadsTheLogInSmallBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := newFakeLog(), &fakeSink{name: "s"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, OnFull: Block}}, Batch: 100})
		r.Release(log.add(t, alerts(1, 1000)...))
		synctest.Wait()
		expect(t, "s", s.taken(), ids(1, 1000))
		if log.longest > 100 || len(s.attempts()) < 10 {
			t.Errorf("%d entries were read at once, in %d batches", log.longest, len(s.attempts()))
		}
		r.end()
	})
}

func TestALogThatFailsEndsTheRun(t *testing.T) {
	for what, payload := range map[string]string{
		"a newer version of sluice wrote this entry": "\xffa",
		"an entry of the outbox is damaged":          "\x01z",
		"its alert cannot be read":                   "\x01a\x00{",
	} {
		synctest.Test(t, func(t *testing.T) {
			log := newFakeLog()
			log.entries = []Entry{{Seq: 1, Payload: []byte(payload)}}
			r := start(t, Options{Log: log, Sinks: []Target{{Sink: &fakeSink{name: "a"}, OnFull: Block}}})
			r.Release(2)
			if err := <-r.done; err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "entry 1") {
				t.Errorf("got %v, want %s", err, what)
			}
			r.stop()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		log.fail = errors.New("input/output error")
		r := start(t, Options{Log: log})
		r.Release(2)
		if err := <-r.done; !errors.Is(err, log.fail) {
			t.Errorf("got %v", err)
		}
		r.stop()
	})
}

func TestOptionsThatContradictEachOtherAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		`two sinks are called "a"`:                     {Sinks: []Target{{Sink: &fakeSink{name: "a"}, OnFull: Block}, {Sink: &fakeSink{name: "a"}, OnFull: Block}}},
		`two sinks are called "dead letters"`:          {Sinks: []Target{{Sink: &fakeSink{name: "dead letters"}, OnFull: Block}}},
		"on_full is dead_letter, and there are no":     {Sinks: []Target{{Sink: &fakeSink{name: "a"}, OnFull: DeadLetter}}},
		"dead_letters: on_full cannot be dead_letter;": {DeadOnFull: DeadLetter},
	} {
		o.Log = newFakeLog()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestAnyFaultsDeliverAll restarts, breaks and mends sinks in a random order:
// in the end each has had every alert, first times in order.
func TestAnyFaultsDeliverAll(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			log, all := newFakeLog(), []*fakeSink{{name: "a"}, {name: "b"}, {name: "c"}}
			o := Options{Log: log, Quota: 1 << 20, Batch: 3}
			for _, s := range all {
				o.Sinks = append(o.Sinks, Target{Sink: s, OnFull: Block})
			}
			r, total := start(t, o), 0
			for range 200 {
				switch random.IntN(5) {
				case 0:
					n := random.IntN(10)
					r.Release(log.add(t, alerts(total+1, total+n)...))
					total += n
				case 1:
					s := all[random.IntN(3)]
					s.set(random.IntN(2) == 0)
					s.mu.Lock()
					s.part = random.IntN(4)
					s.mu.Unlock()
				case 2:
					time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
				case 3:
					synctest.Wait()
				case 4:
					r.end()
					r = start(t, o)
					r.Release(log.next)
				}
			}
			for _, s := range all {
				s.set(false)
			}
			left := r.Drain(t.Context(), time.Minute)
			synctest.Wait() // what was taken is removed right after
			if left != 0 || log.kept() != 0 {
				t.Errorf("seed %d: %d left, %d kept", seed, left, log.kept())
			}
			for _, s := range all {
				seen := 0
				for _, id := range strings.Fields(s.taken()) {
					if id == fmt.Sprint(seen+1) {
						seen++
					} else if n := slices.Index(strings.Fields(ids(1, seen)), id); n < 0 {
						t.Fatalf("seed %d: %s got %s after %d", seed, s.name, id, seen)
					}
				}
				if seen != total {
					t.Errorf("seed %d: %s got %d of %d", seed, s.name, seen, total)
				}
			}
			r.end()
		})
	}
}
