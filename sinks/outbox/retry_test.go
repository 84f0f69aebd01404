package outbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline"
)

// retrying is the default with changes.
func retrying(change func(*Retry)) Retry {
	r := DefaultRetry()
	change(&r)
	return r
}

func TestABreakerLeavesASinkAloneAndProbesItWithOneAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		log, s, other := newFakeLog(), &fakeSink{name: "s", down: true, hold: make(chan struct{})}, &fakeSink{name: "other"}
		retry := retrying(func(r *Retry) { r.Breaker = Breaker{Failures: 3, CoolDown: time.Minute} })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}, {Sink: other}}, Logger: slog.New(&lines)})
		is := func(want BreakerState) {
			t.Helper()
			synctest.Wait()
			if got := r.Stats()[0].Breaker; got != want {
				t.Errorf("the breaker is %s, want %s", got, want)
			}
		}
		r.Release(log.add(t, alerts(1, 5)...))
		for _, wait := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond} {
			is(BreakerClosed)
			time.Sleep(wait)
			s.hold <- struct{}{}
		}
		is(BreakerOpen)
		time.Sleep(time.Minute - time.Nanosecond)
		is(BreakerOpen)
		time.Sleep(time.Nanosecond)
		is(BreakerHalfOpen)
		s.hold <- struct{}{}
		is(BreakerOpen)
		s.set(false)
		time.Sleep(time.Minute)
		s.hold <- struct{}{} // the probe
		is(BreakerClosed)
		s.hold <- struct{}{} // the rest
		synctest.Wait()
		expect(t, "attempts", strings.Join(s.attempts(), ","), "1 2 3 4 5,1 2 3 4 5,1 2 3 4 5,1,1,2 3 4 5")
		expect(t, "s", s.taken(), "1 2 3 4 5")
		expect(t, "the other", other.taken(), "1 2 3 4 5")
		expect(t, "log", strings.Join(lines.take(), "; "), strings.Join([]string{
			"a sink does not take alerts; they wait in the outbox",
			"a sink failed too often in a row; it is left alone, and probed with one alert now and then",
			"the sink takes alerts again",
		}, "; "))
		if st := r.Stats()[0]; st.Retries != 4 || st.Failing {
			t.Errorf("stats %+v, want 4 retries", st)
		}
		r.end()
	})
}

func TestDrainProbesASinkThatIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := newFakeLog(), &fakeSink{name: "s", down: true}
		retry := retrying(func(r *Retry) { r.Breaker = Breaker{Failures: 1, CoolDown: time.Hour} })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}})
		r.Release(log.add(t, alerts(1, 5)...))
		synctest.Wait()
		s.set(false)
		begin := time.Now()
		if left := r.Drain(t.Context(), time.Minute); left != 0 || time.Since(begin) > 0 {
			t.Errorf("%d left after %v", left, time.Since(begin))
		}
		r.end()
	})
}

func TestTheBudgetBoundsRetriesToAShareOfTheDeliveriesAndAFloor(t *testing.T) {
	for _, budget := range []Budget{{Ratio: 0, MinPerSecond: 2}, {Ratio: 0.5, MinPerSecond: 2}, {Ratio: 0.2, MinPerSecond: 10}} {
		synctest.Test(t, func(t *testing.T) {
			const seconds = 100
			log, s := newFakeLog(), &fakeSink{name: "s", flaps: true}
			retry := retrying(func(r *Retry) {
				r.InitialBackoff, r.MaxBackoff, r.Budget = time.Millisecond, time.Millisecond, budget
			})
			r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry, Batching: Batching{Alerts: 1}}}})
			r.Release(log.add(t, alerts(1, 5000)...))
			time.Sleep(seconds * time.Second)
			synctest.Wait()
			st := r.Stats()[0]
			most := budget.MinPerSecond*(seconds+1) + budget.Ratio*float64(st.Delivered) + 1
			if n := float64(st.Retries); n > most || n < most*0.9 {
				t.Errorf("budget %+v: %v retries beside %d deliveries, want nearly %v", budget, n, st.Delivered, most)
			}
			r.end()
		})
	}
}

func TestAPoisonAlertIsGivenUpAndHoldsBackNoOther(t *testing.T) {
	for name, tc := range map[string]struct {
		poison   []string
		points   bool
		breaker  int
		attempts int // at most, beside one for each batch
	}{
		"the first":                       {[]string{"1"}, false, 0, 3 + 7},
		"in the middle":                   {[]string{"37"}, false, 0, 3 + 7},
		"the last":                        {[]string{"100"}, false, 0, 3 + 7},
		"one that the sink points to":     {[]string{"37"}, true, 0, 3},
		"two side by side":                {[]string{"50", "51"}, false, 0, 2 * (3 + 7)},
		"two far from each other":         {[]string{"2", "99"}, false, 0, 2 * (3 + 7)},
		"with a breaker that soon opens":  {[]string{"37"}, false, 2, 100},
		"three, pointed to, and breakers": {[]string{"1", "2", "100"}, true, 2, 9},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s, dead := newFakeLog(), &fakeSink{name: "s", poison: tc.poison, points: tc.points}, &fakeDead{}
				retry := retrying(func(r *Retry) { r.MaxAttempts, r.Breaker.Failures = 3, tc.breaker })
				log.add(t, alerts(1, 100)...)
				r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
				r.lanes[0].limit = 100 // one batch
				r.Release(log.next)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				var want, letters []string
				for _, id := range strings.Fields(ids(1, 100)) {
					if !slices.Contains(tc.poison, id) {
						want = append(want, id)
					} else {
						letters = append(letters, "undelivered:"+id+"@s")
					}
				}
				expect(t, "s", s.taken(), strings.Join(want, " "))
				expect(t, "dead letters", dead.taken(), strings.Join(letters, " "))
				failed := 0
				for _, batch := range s.attempts() {
					if slices.ContainsFunc(strings.Fields(batch), func(id string) bool { return slices.Contains(tc.poison, id) }) {
						failed++
					}
				}
				if failed > tc.attempts || failed < 3 {
					t.Errorf("%d attempts failed, want 3 to %d", failed, tc.attempts)
				}
				if st := r.Stats()[0]; st.GivenUp != uint64(len(tc.poison)) || st.DeadLetters != st.GivenUp || st.Delivered != uint64(len(want)) || st.Waiting != 0 {
					t.Errorf("stats %+v", st)
				}
				r.end()
			})
		})
	}
}

func TestWhatIsGivenUpWaitsForTheDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", poison: []string{"2"}}, &fakeDead{down: true}
		retry := retrying(func(r *Retry) { r.MaxAttempts = 1 })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
		r.Release(log.add(t, alerts(1, 3)...))
		time.Sleep(time.Hour)
		expect(t, "s while the dead letters are down", s.taken(), "1")
		dead.set(false)
		time.Sleep(time.Minute)
		expect(t, "s", s.taken(), "3")
		expect(t, "dead letters", dead.taken(), "undelivered:2@s")
		r.end()
	})
}

// An outage is no alert's fault: bounded attempts give up one alert a probe at most.
func TestAnOutageCostsAtMostOneAlertAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", down: true}, &fakeDead{}
		retry := retrying(func(r *Retry) { r.MaxAttempts = 5 })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
		r.Release(log.add(t, alerts(1, 500)...))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := r.Stats()[0]; st.GivenUp < 5 || st.GivenUp > 20 {
			t.Errorf("%d were given up within 10 minutes, want one each 30 seconds at most", st.GivenUp)
		}
		gone := len(strings.Fields(dead.taken()))
		s.set(false)
		time.Sleep(time.Minute)
		expect(t, "s", s.taken(), ids(gone+1, 500))
		r.end()
	})
}

func TestInAnOutageTheAlertsThatAreTooOldGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", down: true}, &fakeDead{}
		retry := retrying(func(r *Retry) { r.MaxAge = time.Hour })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
		for i := range 100 { // a minute apart
			r.Release(log.add(t, alerts(10*i+1, 10*i+10)...))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		gone := len(strings.Fields(dead.taken()))
		if gone < 390 || gone > 400 {
			t.Errorf("%d alerts went to the dead letters, want the 400 of before an hour, or nearly", gone)
		}
		s.set(false)
		time.Sleep(time.Minute)
		expect(t, "s", s.taken(), ids(gone+1, 1000))
		expect(t, "dead letters", dead.taken(), "")
		r.end()
	})
}

// TestAnAlertsAgeOutlivesRestarts: else a pipeline that is restarted often would never give one up.
func TestAnAlertsAgeOutlivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", down: true}, &fakeDead{}
		o := Options{Log: log, Sinks: []Target{{Sink: s, Retry: retrying(func(r *Retry) { r.MaxAge = time.Hour })}}, DeadLetters: dead}
		upTo := log.add(t, alerts(1, 3)...)
		log.add(t, Item{Alert: &pipeline.Alert{UUID: "unknown"}}) // of a version that noted no time
		for range 4 {
			r := start(t, o)
			r.Release(upTo)
			time.Sleep(14 * time.Minute)
			r.end()
		}
		expect(t, "dead letters within the hour", dead.taken(), "")
		r := start(t, o)
		r.Release(log.next)
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		expect(t, "dead letters after it", dead.taken(), "undelivered:1@s undelivered:2@s undelivered:3@s")
		time.Sleep(time.Hour)
		synctest.Wait()
		expect(t, "dead letters an hour after the start", dead.taken(), "undelivered:unknown@s")
		r.end()
	})
}

func TestAnAlertThatIsTooOldTakesNoOtherWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s, dead := newFakeLog(), &fakeSink{name: "s", poison: []string{"4"}}, &fakeDead{}
		retry := retrying(func(r *Retry) { r.MaxAge = time.Hour })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
		r.Release(log.add(t, alerts(1, 9)...))
		time.Sleep(59 * time.Minute)
		expect(t, "s within the hour, by the breaker's probes", s.taken(), "1 2 3")
		time.Sleep(time.Hour)
		expect(t, "s", s.taken(), "5 6 7 8 9")
		expect(t, "dead letters", dead.taken(), "undelivered:4@s")
		r.end()
	})
}

func TestASinkThatHangsHoldsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hangs, other := newFakeLog(), &fakeSink{name: "hangs", hold: make(chan struct{})}, &fakeSink{name: "other"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: hangs}, {Sink: other}}})
		for i := range 10 {
			r.Release(log.add(t, alerts(10*i+1, 10*i+10)...))
			synctest.Wait()
			expect(t, "the other", other.taken(), ids(10*i+1, 10*i+10))
		}
		r.end()
	})
}

func TestABatchIsGatheredForAsLongAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := newFakeLog(), &fakeSink{name: "s"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Batching: Batching{Alerts: 5, Wait: time.Minute}}}})
		give := func(from, to int) {
			r.Release(log.add(t, alerts(from, to)...))
			synctest.Wait()
		}
		give(1, 2)
		time.Sleep(50 * time.Second)
		give(3, 3)
		expect(t, "within the wait", s.taken(), "")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expect(t, "after the wait", s.taken(), "1 2 3")
		give(4, 6)
		give(7, 9)
		expect(t, "once a batch is full", s.taken(), "4 5 6 7 8")
		time.Sleep(59 * time.Second)
		expect(t, "the rest, within its own wait", s.taken(), "")
		if left := r.Drain(t.Context(), time.Second); left != 0 {
			t.Errorf("%d left: the end waits for no batch", left)
		}
		expect(t, "at the end", s.taken(), "9")
		expect(t, "batches", strings.Join(s.attempts(), ","), "1 2 3,4 5 6 7 8,9")
		r.end()
	})
}

func TestABatchersBatchesAreGivenAndGivenUpAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dead := newFakeLog(), &fakeDead{}
		s := &fakeBatcher{fakeSink: fakeSink{name: "s", poison: []string{"5"}}, want: 3, wait: time.Hour}
		retry := retrying(func(r *Retry) { r.MaxAttempts, r.Breaker.Failures = 3, 2 })
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: s, Retry: retry}}, DeadLetters: dead})
		r.Release(log.add(t, alerts(1, 9)...))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		expect(t, "attempts", strings.Join(s.attempts(), ","), "1 2 3,4 5 6,4 5 6,4 5 6,7 8 9")
		expect(t, "dead letters", dead.taken(), "undelivered:4@s undelivered:5@s undelivered:6@s")
		r.end()
	})
}

func TestDirectGivesUpWhatIsTriedOftenEnough(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Retry)
		down   bool
		poison []string
		got    string
		dead   string
	}{
		"poison":         {func(r *Retry) { r.MaxAttempts = 3 }, false, []string{"2"}, "1 3 4", "undelivered:2@s"},
		"two of it":      {func(r *Retry) { r.MaxAttempts = 3 }, false, []string{"2", "4"}, "1 3", "undelivered:2@s undelivered:4@s"},
		"an old outage":  {func(r *Retry) { r.MaxAge = time.Minute }, true, nil, "", "undelivered:1@s undelivered:2@s undelivered:3@s undelivered:4@s"},
		"no attempt too": {func(r *Retry) { r.MaxAttempts = 1 }, true, nil, "", "undelivered:1@s undelivered:2@s undelivered:3@s undelivered:4@s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dead := &fakeSink{name: "s", down: tc.down, poison: tc.poison}, &fakeDead{}
				d, err := NewDirect(Options{Sinks: []Target{{Sink: s, Retry: retrying(tc.change)}}, DeadLetters: dead})
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Deliver(t.Context(), alerts(1, 4)); err != nil {
					t.Fatal(err)
				}
				expect(t, "s", s.taken(), tc.got)
				expect(t, "dead letters", dead.taken(), tc.dead)
			})
		})
	}
}

// TestWhatIsRefusedIsNamed: without a place for dead letters the log has the only trace of it.
func TestWhatIsRefusedIsNamed(t *testing.T) {
	var log bytes.Buffer
	d, err := NewDirect(Options{Sinks: []Target{{Sink: &fakeSink{name: "s", refuse: "2"}}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Deliver(t.Context(), alerts(1, 3)); err != nil || !strings.Contains(log.String(), "ids=2 ") {
		t.Errorf("%v, log %s", err, &log)
	}
	letters := make([]pipeline.DeadLetter, 23)
	for i := range letters {
		letters[i].Key = []byte("x")
	}
	if got := named(letters); got != strings.Repeat("x ", 20)+"and 3 more" {
		t.Errorf("many are %q", got)
	}
}

func TestBoundsNeedAPlaceForDeadLetters(t *testing.T) {
	for _, retry := range []Retry{retrying(func(r *Retry) { r.MaxAttempts = 1 }), retrying(func(r *Retry) { r.MaxAge = 1 })} {
		_, err := New(Options{Log: newFakeLog(), Sinks: []Target{{Sink: &fakeSink{name: "s"}, Retry: retry}}})
		if err == nil || !strings.Contains(err.Error(), "sink s: retry bounds how often or how long an alert is tried, and there are no dead_letters") {
			t.Errorf("got %v", err)
		}
	}
}

func TestRetryIsValidated(t *testing.T) {
	for want, change := range map[string]func(*Retry){
		"": func(*Retry) {},
		"initial_backoff: it is 0s; it must be above":                         func(r *Retry) { r.InitialBackoff = 0 },
		"max_backoff: it is 1ms; it must be at least initial_backoff (100ms)": func(r *Retry) { r.MaxBackoff = time.Millisecond },
		"max_attempts: it is -1":                                              func(r *Retry) { r.MaxAttempts = -1 },
		"max_age: it is -1s":                                                  func(r *Retry) { r.MaxAge = -time.Second },
		"budget.ratio: it is -1":                                              func(r *Retry) { r.Budget.Ratio = -1 },
		"budget.min_per_second: it is 0":                                      func(r *Retry) { r.Budget.MinPerSecond = 0 },
		"breaker.failures: it is -1":                                          func(r *Retry) { r.Breaker.Failures = -1 },
		"breaker.cool_down: it is 0s":                                         func(r *Retry) { r.Breaker.CoolDown = 0 },
	} {
		r := retrying(change)
		if err := r.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestAnyFaultsSettleAllWithinBounds restarts, breaks and mends a sink that
// cannot take some alerts, under random bounds: in the end each alert is
// delivered, in order, or is in the dead letters, and the poison is all there.
func TestAnyFaultsSettleAllWithinBounds(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			log, dead, total := newFakeLog(), &fakeDead{}, 0
			s, other := &fakeSink{name: "s", points: random.IntN(2) == 0}, &fakeSink{name: "other"}
			retry := retrying(func(r *Retry) {
				r.MaxAttempts, r.Breaker.Failures = 1+random.IntN(4), random.IntN(6)
				if random.IntN(2) == 0 {
					r.MaxAge = time.Duration(1+random.IntN(60)) * time.Second
				}
			})
			o := Options{Log: log, DeadLetters: dead, Batch: 1 + random.IntN(20), Sinks: []Target{{Sink: s, Retry: retry}, {Sink: other}}}
			r := start(t, o)
			for range 100 {
				switch random.IntN(5) {
				case 0:
					n := random.IntN(10)
					for i := range n { // before they are released: the sink may get them at once
						if random.IntN(8) == 0 {
							s.mu.Lock()
							s.poison = append(s.poison, fmt.Sprint(total+1+i))
							s.mu.Unlock()
						}
					}
					r.Release(log.add(t, alerts(total+1, total+n)...))
					total += n
				case 1:
					s.set(random.IntN(2) == 0)
				case 2:
					dead.set(random.IntN(3) == 0)
				case 3:
					time.Sleep(time.Duration(random.IntN(30_000)) * time.Millisecond)
				case 4:
					r.end()
					r = start(t, o)
					r.Release(log.next)
				}
			}
			s.set(false)
			dead.set(false)
			time.Sleep(3 * time.Hour)
			if left := r.Drain(t.Context(), 0); left != 0 {
				t.Errorf("seed %d: %d left", seed, left)
			}
			expect(t, fmt.Sprintf("seed %d: the other", seed), other.taken(), ids(1, total))
			letters, last := dead.taken(), 0
			got := make(map[string]bool)
			for _, id := range strings.Fields(s.taken()) {
				var n int
				if _, err := fmt.Sscan(id, &n); err != nil || n <= last {
					t.Fatalf("seed %d: %s after %d", seed, id, last)
				}
				got[id], last = true, n
			}
			for _, id := range strings.Fields(ids(1, total)) {
				gone := strings.Contains(letters, "undelivered:"+id+"@s")
				if got[id] == gone || slices.Contains(s.poison, id) != gone && !gone {
					t.Errorf("seed %d: alert %s delivered %v, given up %v", seed, id, got[id], gone)
				}
			}
			r.end()
		})
	}
}
