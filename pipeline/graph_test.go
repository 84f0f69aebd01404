package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The toy engine: a line is "key seconds"; scenario 0 counts lines by key and
// overflows every third; scenario 1 takes the alerts of 0, and lines of key
// "a" too, and overflows every second.
type toyWorker struct {
	ev    *Event
	slot  Slot
	keep  *KeepSet
	turns *atomic.Int64
}

func (w *toyWorker) Work(b *Batch, turn *Turn) {
	if w.turns != nil {
		turn.Wait()
		if got := w.turns.Add(1) - 1; got != int64(b.Seq) {
			panic(fmt.Sprintf("batch %d took turn %d", b.Seq, got))
		}
	}
	var clock time.Time
	for i := range b.Records.Records {
		r := &b.Records.Records[i]
		w.ev.Reset()
		w.ev.Position = Position{b.Records.Partition, r.Offset, 0}
		key, sec, _ := strings.Cut(string(r.Value), " ")
		w.ev.Set(w.slot, key)
		d, _ := time.ParseDuration(sec + "s")
		w.ev.Time = time.Unix(0, 0).Add(d)
		b.Stats.Lines++
		if w.ev.Time.After(clock) {
			clock = w.ev.Time
			b.Steps = append(b.Steps, ClockStep{int32(i), w.ev.Position, clock})
		}
		kept := b.Arena.Keep(w.ev, w.keep)
		h := fnv.New64a()
		h.Write([]byte(key))
		b.Pours = append(b.Pours, Pour{Scenario: 0, Line: int32(i), Route: h.Sum64(), Key: kept.Get(w.slot), Event: kept})
		if key == "a" {
			b.Pours = append(b.Pours, Pour{Scenario: 1, Line: int32(i), AlertLane: true, Event: kept})
		}
	}
}

type toyShard struct {
	counts map[string]int32
	every  int32
}

func (s *toyShard) Apply(_ Partition, steps []ClockStep, pours []*Pour, out []Overflow) []Overflow {
	for _, p := range pours {
		key := strings.Clone(p.Key)
		s.counts[key]++
		if s.counts[key]%s.every == 0 {
			out = append(out, Overflow{Scenario: p.Scenario, Key: key, Line: p.Line, Cause: p.Event.Position,
				Count: s.counts[key], Queue: []*Kept{p.Event.Own()}})
		}
	}
	return out
}

type toyAlerter struct{}

func (toyAlerter) Alert(_ context.Context, o *Overflow) *RuntimeAlert {
	return &RuntimeAlert{
		Mapkey:    fmt.Sprintf("%d/%s/%d@%d.%d", o.Scenario, o.Key, o.Count, o.Cause.Offset, o.Depth),
		Reprocess: o.Scenario == 0,
	}
}

func (toyAlerter) Repours(o *Overflow) bool { return o.Scenario == 0 }

func (toyAlerter) Repour(a *RuntimeAlert, o *Overflow, arena *KeptArena, out []Pour) []Pour {
	return append(out, Pour{Scenario: 1, AlertLane: true, Event: &Kept{Type: OverflowEvent, Position: o.Cause}})
}

func runToy(t *testing.T, lines []string, emit, batch, workers, shards int) []string {
	t.Helper()
	schema := NewSchema()
	slot := schema.Slot(Meta, "key")
	keep := &KeepSet{}
	keep.Prepare(schema)
	var alerts []string
	var turns atomic.Int64
	var released atomic.Int64
	var next int64
	g, err := NewGraph(Options{
		Workers: workers, Shards: shards, BatchRecords: batch, AlertLane: true, Poison: true,
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, &turns} },
		NewShard: func(i int) Shard {
			if i == shards {
				return &toyShard{make(map[string]int32), 2}
			}
			return &toyShard{make(map[string]int32), 3}
		},
		Alerter: toyAlerter{},
		Deliver: func(_ context.Context, out *Outcome) error {
			if len(out.Through) != 1 || out.Through[0].Next <= next {
				return fmt.Errorf("outcome goes to %v after %d", out.Through, next)
			}
			next = out.Through[0].Next
			for _, a := range out.Alerts {
				alerts = append(alerts, a.Mapkey)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	emitted := 0
	for start := 0; start < len(lines); start += emit {
		rb := &RecordBatch{Partition: Partition{"toy", "t", 0}, Release: func() { released.Add(1) }}
		for i := start; i < min(start+emit, len(lines)); i++ {
			rb.Records = append(rb.Records, Record{Value: []byte(lines[i]), Offset: int64(i)})
		}
		emitted++
		if err := g.Emit(t.Context(), rb); err != nil {
			t.Fatal(err)
		}
	}
	g.Close()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	if int(released.Load()) != emitted {
		t.Errorf("%d of %d record batches were released", released.Load(), emitted)
	}
	if next != int64(len(lines)) {
		t.Errorf("delivered up to %d of %d", next, len(lines))
	}
	return alerts
}

func TestAlertsDoNotDependOnWorkersShardsOrBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var lines []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("%c %d", 'a'+rng.IntN(5), i/3))
	}
	want := runToy(t, lines, 1000, 1000, 1, 1)
	if len(want) < 1000 {
		t.Fatalf("only %d alerts: the toy engine is too quiet to show anything", len(want))
	}
	for _, c := range []struct{ emit, batch, workers, shards int }{
		{1000, 7, 1, 1}, {1, 1, 2, 4}, {64, 16, 8, 16}, {3000, 512, 3, 5},
	} {
		got := runToy(t, lines, c.emit, c.batch, c.workers, c.shards)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Fatalf("%+v: alert %d differs from the single-threaded run's %s", c, i, want[i])
				}
			}
			t.Fatalf("%+v: %d alerts, want %d", c, len(got), len(want))
		}
	}
}

func TestAnAlertIsPouredBehindItsLineAndBeforeTheNext(t *testing.T) {
	// The third b makes an alert of scenario 0; poured again between the
	// first and the second a, it is the second pour of scenario 1.
	got := runToy(t, []string{"b 1", "b 2", "a 3", "b 4", "a 5", "a 6"}, 2, 1, 2, 2)
	want := []string{"0/b/3@3.0", "1//2@3.1", "0/a/3@5.0", "1//4@5.0"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEmitFailsOnceDeliverFailed(t *testing.T) {
	boom := errors.New("sink is gone")
	schema := NewSchema()
	keep := &KeepSet{}
	slot := schema.Slot(Meta, "key")
	keep.Prepare(schema)
	g, err := NewGraph(Options{
		Workers: 2, Shards: 2,
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard:  func(int) Shard { return &toyShard{make(map[string]int32), 3} },
		Alerter:   toyAlerter{},
		Deliver:   func(context.Context, *Outcome) error { return boom },
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(context.Background()) }()
	for {
		err := g.Emit(context.Background(), &RecordBatch{Records: []Record{{Value: []byte("a 1")}}})
		if errors.Is(err, ErrStopped) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-errs; !errors.Is(err, boom) {
		t.Errorf("Run returned %v, want the sink's error", err)
	}
}

func TestNewGraphRefusesNoWorkers(t *testing.T) {
	if _, err := NewGraph(Options{Shards: 1}); err == nil {
		t.Error("a graph without workers was made")
	}
}

// A source that is stopped learns of a batch that it was taken, or that
// nothing of it was: else it has to bring again what was counted.
func TestABatchThatIsBegunIsTakenToItsEnd(t *testing.T) {
	schema := NewSchema()
	keep := &KeepSet{}
	slot := schema.Slot(Meta, "key")
	keep.Prepare(schema)
	ctx, stop := context.WithCancel(t.Context())
	var next int64
	stopped := make(chan struct{})
	g, err := NewGraph(Options{
		Workers: 1, Shards: 1, BatchRecords: 1, QueueBatches: 1,
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard:  func(int) Shard { return &toyShard{make(map[string]int32), 3} },
		Alerter:   toyAlerter{},
		Deliver: func(_ context.Context, out *Outcome) error { // by now the source waits for room
			stop()
			<-stopped
			next = out.Through[0].Next
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { close(stopped) })
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	batch := func(from int64) *RecordBatch {
		rb := &RecordBatch{Partition: Partition{"toy", "t", 0}}
		for i := range int64(100) {
			rb.Records = append(rb.Records, Record{Value: []byte("b 1"), Offset: from + i})
		}
		return rb
	}
	if err := g.Emit(ctx, batch(0)); err != nil {
		t.Errorf("Emit of a batch that was begun: %v", err)
	}
	want := int64(100)
	switch n, err := g.EmitSome(ctx, batch(100)); { // there may be room, and then it is taken though ctx is done
	case err == nil:
		want = 200
	case n != 0:
		t.Errorf("%d records of a batch that came after the end were taken, and the error is %v", n, err)
	}
	g.Close()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	if next != want {
		t.Errorf("delivered up to %d of %d", next, want)
	}
}

// TestAPartitionWithoutARecordHasAPlace: a batch without records says where it is read next.
func TestAPartitionWithoutARecordHasAPlace(t *testing.T) {
	part := Partition{Source: "toy", Topic: "t"}
	g := &Graph{next: make(map[Partition]int64), emitTurn: make(chan struct{}, 1), refusing: make(chan struct{})}
	for _, next := range []int64{7, 0} {
		released := false
		b := &RecordBatch{Partition: part, Next: next, Release: func() { released = true }}
		if err := g.Emit(t.Context(), b); err != nil || !released || g.next[part] != 7 {
			t.Errorf("at %d, released %v, %v; want 7", g.next[part], released, err)
		}
	}
	g.Refuse()
	b := &RecordBatch{Partition: part, Next: 9, Release: func() { t.Error("a batch was released that the next graph gets") }}
	if err := g.Emit(t.Context(), b); !errors.Is(err, ErrRefused) || g.next[part] != 7 {
		t.Errorf("a graph that makes way stands at %d, %v", g.next[part], err)
	}
}
