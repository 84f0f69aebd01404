package outbox

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline"
)

func TestABatchGathersUntilItIsLargeOrItsFirstHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a"}, want: 100, wait: time.Minute}, &fakeSink{name: "b"}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}}})
		r.Release(log.add(t, alerts(1, 40)...))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		expect(t, "another sink", b.taken(), ids(1, 40))
		expect(t, "before a minute is over", a.taken(), "")
		log.add(t, alert("for b", "b"))
		r.Release(log.add(t, alerts(41, 42)...))
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, "after it", strings.Join(a.attempts(), "|"), ids(1, 42))
		for i := 43; i <= 250; i += 8 {
			r.Release(log.add(t, alerts(i, i+7)...))
			synctest.Wait()
		}
		expect(t, "as many as it wants", strings.Join(a.attempts()[1:], "|"), ids(43, 142)+"|"+ids(143, 242))
		if left := r.Drain(t.Context(), time.Second); left != 0 {
			t.Errorf("%d are left", left)
		}
		expect(t, "when the pipeline stops", strings.Join(a.attempts()[3:], "|"), ids(243, 250))
		r.end()
	})
}

func TestABatchThatFailedComesAgainAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a", down: true}, want: 1000, wait: time.Minute}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}}})
		r.Release(log.add(t, alerts(1, 90)...))
		time.Sleep(time.Minute)
		synctest.Wait()
		r.Release(log.add(t, alerts(91, 200)...))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		a.set(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expect(t, "the attempts", strings.Join(a.attempts(), "|"), strings.Repeat(ids(1, 90)+"|", 2)+ids(1, 90))
		time.Sleep(time.Minute)
		synctest.Wait()
		expect(t, "the next", strings.Join(a.attempts()[3:], "|"), ids(91, 200))
		r.end()
	})
}

// TestAfterACrashTheSameBatchCanBeHadAgain asks a second outbox for what the
// first had given, when more has come.
func TestAfterACrashTheSameBatchCanBeHadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a", down: true}, want: 1000, wait: time.Minute}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}}})
		r.Release(log.add(t, alerts(1, 700)...))
		time.Sleep(time.Minute)
		synctest.Wait()
		r.end()
		again := &fakeBatcher{fakeSink: fakeSink{name: "a"}, want: 700, wait: time.Minute}
		r = start(t, Options{Log: log, Sinks: []Target{{Sink: again, OnFull: Block}}})
		r.Release(log.add(t, alerts(701, 900)...))
		synctest.Wait()
		expect(t, "the batch", strings.Join(again.attempts(), "|"), a.attempts()[0])
		r.end()
	})
}

func TestABatchIsNoLongerThanWhatIsHeldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a"}, want: 1 << 20, wait: time.Hour}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}}, Batch: 4})
		var items []Item
		for _, it := range alerts(1, 30) {
			it.Alert = &pipeline.Alert{UUID: it.Alert.UUID, Message: strings.Repeat("m", batchBytes/8)}
			items = append(items, it)
		}
		r.Release(log.add(t, items...))
		synctest.Wait()
		expect(t, "the batches", strings.Join(a.attempts(), "|"), ids(1, 8)+"|"+ids(9, 16)+"|"+ids(17, 24))
		r.end()
	})
}

// TestWhatComesBehindTheLookAtWhatWaitsHasNotWaited has alerts come between the
// look at what waits, which is nothing, and the reading of it.
func TestWhatComesBehindTheLookAtWhatWaitsHasNotWaited(t *testing.T) {
	for _, before := range []Item{{}, alert("for b", "b")} {
		synctest.Test(t, func(t *testing.T) {
			log, a, b := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a"}, want: 100, wait: time.Minute}, &fakeSink{name: "b"}
			d, err := New(Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}}})
			if err != nil {
				t.Fatal(err)
			}
			comes := func(items ...Item) {
				d.Release(log.add(t, items...))
				if _, err := d.tally(); err != nil {
					t.Fatal(err)
				}
			}
			if before.Alert != nil {
				comes(before)
			}
			l := d.lanes[0]
			end, gathers := l.gathers()
			comes(alerts(1, 40)...)
			if !gathers {
				if batch, err := l.read(end); batch != nil || err != nil {
					t.Errorf("%+v, %v", batch, err)
				}
			}
			if _, gathers := l.gathers(); !gathers {
				t.Error("what has come does not wait for more")
			}
		})
	}
}

// TestSourcesDoNotWaitForABatchToGather has a quota that is smaller than a batch.
func TestSourcesDoNotWaitForABatchToGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a := newFakeLog(), &fakeBatcher{fakeSink: fakeSink{name: "a"}, want: 1 << 20, wait: time.Hour}
		r := start(t, Options{Log: log, Sinks: []Target{{Sink: a, OnFull: Block}}, Quota: 4000})
		for i := range 100 {
			r.Release(log.add(t, alerts(i, i)...))
			synctest.Wait()
			if r.Blocked() {
				t.Fatalf("the sources wait at alert %d", i)
			}
		}
		if n := len(a.attempts()); n < 2 || n > 20 {
			t.Errorf("%d batches", n)
		}
		r.end()
	})
}
