package outbox

import (
	"context"
	"testing"
	"time"

	"sluice/pipeline/state"
)

// commit makes items durable in a store, as one epoch.
func commit(t *testing.T, s *state.Store, items ...Item) {
	t.Helper()
	e := &state.Epoch{}
	for _, it := range items {
		b, err := it.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Outbox = append(e.Outbox, state.Entry{Payload: b})
	}
	if _, err := s.Commit(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(func(_, _ []byte, _ state.Sum) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheStoreIsALog restarts a store and a deliverer: nothing is lost, what
// was discarded is not delivered, and in the end nothing is kept.
func TestTheStoreIsALog(t *testing.T) {
	dir := t.TempDir()
	up, down := &fakeSink{name: "up"}, &fakeSink{name: "down", down: true}
	o := Options{Sinks: []Target{{Sink: up, OnFull: Block}, {Sink: down, OnFull: Block}}, Batch: 7}

	s := openStore(t, dir)
	o.Log = s
	commit(t, s, alerts(1, 100)...)
	commit(t, s, alerts(101, 103)...)
	if err := s.Discard([]uint64{101, 102}); err != nil {
		t.Fatal(err)
	}
	r := start(t, o)
	r.Release(s.NextSeq())
	r.await("what one sink takes and the other does not", func(s []Stats) bool { return s[0].Delivered == 101 && s[1].Waiting == 101 })
	if left := r.Drain(t.Context(), time.Millisecond); left != 101 {
		t.Errorf("%d left, want those of the sink that is down", left)
	}
	r.end()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, "up", up.taken(), ids(1, 100)+" 103")

	s = openStore(t, dir)
	o.Log = s
	commit(t, s, alert("104"))
	down.set(false)
	r = start(t, o)
	r.Release(s.NextSeq())
	if left := r.Drain(t.Context(), time.Minute); left != 0 {
		t.Errorf("%d left", left)
	}
	r.end()
	expect(t, "up", up.taken(), "104")
	expect(t, "down", down.taken(), ids(1, 100)+" 103 104")
	if kept, err := s.Outbox(1, 1000); len(kept) != 0 || err != nil {
		t.Errorf("%d entries are kept, %v", len(kept), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDeliver(b *testing.B) {
	dir := b.TempDir()
	s, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Load(func(_, _ []byte, _ state.Sum) error { return nil }); err != nil {
		b.Fatal(err)
	}
	it := alert("1")
	payload, err := it.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	sink := &fakeSink{name: "s"}
	d, err := New(Options{Log: s, Sinks: []Target{{Sink: sink, OnFull: Block}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		e := &state.Epoch{}
		for range 1000 {
			e.Outbox = append(e.Outbox, state.Entry{Payload: payload})
		}
		if _, err := s.Commit(ctx, e); err != nil {
			b.Fatal(err)
		}
		d.Release(s.NextSeq())
		d.Drain(ctx, time.Minute)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "alerts/s")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
