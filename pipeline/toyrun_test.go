package pipeline

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/pipeline/state"
)

// records are the records of a checkpoint, as a store keeps them.
type records map[string]string

func (r records) apply(t *testing.T, s *Snapshot) {
	t.Helper()
	for _, w := range s.Parts() {
		err := w.Each(
			func(k, v []byte) error { r[string(k)] = string(v); return nil },
			func(k []byte) error {
				if _, ok := r[string(k)]; !ok {
					t.Errorf("record %q is deleted and was not there", k)
				}
				delete(r, string(k))
				return nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// durableToy is a toyShard that can be written down. It copies itself at a
// barrier and hands out the copy a bucket at a time.
type durableToy struct {
	toyShard
	sums    map[string]state.Sum
	frozen  []string
	values  map[string]int32
	changed map[string]bool
	writer  *state.Writer
	failed  error // of the next Apply
}

func newDurableToy(every int32) *durableToy {
	return &durableToy{
		toyShard: toyShard{make(map[string]int32), every},
		sums:     make(map[string]state.Sum), changed: make(map[string]bool),
	}
}

func (s *durableToy) Apply(p Partition, steps []ClockStep, pours []*Pour, out []Overflow) []Overflow {
	for _, pour := range pours {
		s.changed[strings.Clone(pour.Key)] = true
	}
	return s.toyShard.Apply(p, steps, pours, out)
}

func (s *durableToy) Freeze() {
	s.frozen, s.values = slices.Sorted(maps.Keys(s.changed)), maps.Clone(s.counts)
	s.writer = &state.Writer{}
	clear(s.changed)
}

func (s *durableToy) Encode(n int) *state.Writer {
	for ; n > 0 && len(s.frozen) > 0; n-- {
		key := s.frozen[0]
		s.frozen = s.frozen[1:]
		s.sums[key] = s.writer.Put([]byte("b"+fmt.Sprint(s.every)+key), fmt.Append(nil, s.values[key]), s.sums[key])
	}
	if len(s.frozen) > 0 {
		return nil
	}
	return s.writer
}

func (s *durableToy) Stored(uint64)    {}
func (s *durableToy) Forget(Partition) {}
func (s *durableToy) Err() error       { return s.failed }

func (s *durableToy) load(r records) {
	for k, v := range r {
		if key, ours := strings.CutPrefix(k, "b"+fmt.Sprint(s.every)); ours {
			var n int32
			_, _ = fmt.Sscan(v, &n)
			s.counts[key] = n
			s.sums[key] = state.SumOf([]byte(k), []byte(v))
		}
	}
}

// toyCoder writes a toy pour as its key and line, an overflow as its key and count.
type toyCoder struct{}

func (toyCoder) AppendPour(to []byte, p *Pour) []byte {
	to = binary.AppendUvarint(to, uint64(len(p.Key)))
	to = append(to, p.Key...)
	to = binary.AppendUvarint(to, p.Route)
	to = binary.AppendUvarint(to, uint64(p.Scenario))
	return binary.AppendUvarint(to, uint64(p.Event.Position.Offset))
}

func (toyCoder) AppendOverflow(to []byte, o *Overflow) []byte {
	return fmt.Appendf(to, "%d %d %d %s", o.Scenario, o.Count, o.Cause.Offset, o.Key)
}

func decodeToyPour(part Partition) func(b []byte) (*Pour, []byte, error) {
	return func(b []byte) (*Pour, []byte, error) {
		take := func() uint64 {
			v, n := binary.Uvarint(b)
			b = b[n:]
			return v
		}
		n := take()
		key := string(b[:n])
		b = b[n:]
		p := &Pour{Key: key, Route: take(), Scenario: int32(take())}
		p.AlertLane = p.Scenario == 1
		p.Event = &Kept{Position: Position{Partition: part, Offset: int64(take())}}
		return p, b, nil
	}
}

// toyRun is a toy engine that can be stopped at a barrier and go on from it.
type toyRun struct {
	t        *testing.T
	workers  int
	shards   int
	merge    *MergeOptions
	stored   records
	dict     *state.Dictionary
	alerts   []string // of finished epochs
	snapshot *Snapshot
	late     bool
	settle   bool
	alerter  Alerter
}

// run emits the lines of each partition from where the last snapshot stands,
// with a barrier behind some of them, and forgets what came after the last barrier.
func (r *toyRun) run(logs map[Partition][]string, stopAfter int, rng *rand.Rand) {
	t := r.t
	t.Helper()
	schema := NewSchema()
	slot := schema.Slot(Meta, "key")
	keep := &KeepSet{}
	keep.Prepare(schema)
	var mu sync.Mutex
	var epoch []string
	g, err := NewGraph(Options{
		Workers: r.workers, Shards: r.shards, BatchRecords: 1 + rng.IntN(5), AlertLane: true, Poison: true,
		Coder: toyCoder{}, Dictionary: r.dict, Merge: r.merge, LateAlerts: r.late,
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard: func(i int) Shard {
			every := int32(3)
			if i == r.shards {
				every = 2
			}
			s := newDurableToy(every)
			s.load(r.stored)
			return s
		},
		Alerter: r.alerter,
		Deliver: func(_ context.Context, out *Outcome) error {
			mu.Lock()
			defer mu.Unlock()
			if out.Barrier != nil {
				r.alerts = append(r.alerts, epoch...)
				epoch = nil
			}
			for _, a := range out.Alerts {
				epoch = append(epoch, a.Mapkey)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	next := make(map[Partition]int64)
	if r.snapshot != nil {
		next = maps.Clone(r.snapshot.Positions)
		g.Resume(r.snapshot.Positions, r.snapshot.Clocks)
		r.resume(g)
	}
	parts := slices.SortedFunc(maps.Keys(logs), func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
	g.Expect(parts...)
	errs := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { errs <- g.Run(ctx) }()
	var emitted atomic.Int64
	var emitters sync.WaitGroup
	for _, p := range parts { // a goroutine each, as sources have
		seed := rng.Uint64()
		emitters.Go(func() { emitRandomly(ctx, g, p, logs[p], next[p], &emitted, stopAfter, rand.New(rand.NewPCG(seed, 1))) })
	}
	emitting := make(chan struct{})
	go func() {
		emitters.Wait()
		close(emitting)
	}()
	for done := false; !done && int(emitted.Load()) < stopAfter; {
		select {
		case <-emitting:
			done = true
		default:
			r.checkpoint(ctx, g)
		}
	}
	if int(emitted.Load()) < stopAfter { // the log's end: nothing of it may be lost
		r.checkpoint(ctx, g)
		g.Close()
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	} else {
		cancel() // a crash
		<-errs
	}
	cancel()
	<-emitting
}

// emitRandomly emits a partition's lines from an offset on, until all
// partitions together have emitted enough.
func emitRandomly(ctx context.Context, g *Graph, p Partition, log []string, next int64, emitted *atomic.Int64, stopAfter int, rng *rand.Rand) {
	for int(next) < len(log) && int(emitted.Load()) < stopAfter {
		n := min(1+rng.IntN(8), len(log)-int(next))
		rb := &RecordBatch{Partition: p}
		for range n {
			rb.Records = append(rb.Records, Record{Value: []byte(log[next]), Offset: next})
			next++
		}
		if g.Emit(ctx, rb) != nil {
			return
		}
		emitted.Add(int64(n))
	}
}

func (r *toyRun) resume(g *Graph) {
	var lines []*WaitingLine
	for k, v := range r.stored {
		if k[0] != byte(state.KindLine) {
			continue
		}
		number, _ := binary.Uvarint([]byte(k[1:]))
		part, _ := PartitionOf(r.dict, uint32(number))
		l, err := DecodeLine([]byte(k), []byte(v), state.SumOf([]byte(k), []byte(v)), r.dict, decodeToyPour(part))
		if err != nil {
			r.t.Fatal(err)
		}
		lines = append(lines, l)
	}
	g.ResumeLines(lines)
	var pending []PendingAlert
	for k, v := range r.stored {
		if k[0] == byte(state.KindPending) {
			o := &Overflow{}
			if _, err := fmt.Sscanf(v, "%d %d %d %s", &o.Scenario, &o.Count, &o.Cause.Offset, &o.Key); err != nil {
				r.t.Fatal(err)
			}
			pending = append(pending, PendingAlert{[]byte(k), state.SumOf([]byte(k), []byte(v)), o})
		}
	}
	g.ResumeAlerts(pending)
}

func (r *toyRun) checkpoint(ctx context.Context, g *Graph) {
	r.t.Helper()
	checkpoint := func() (*Snapshot, error) { return g.Checkpoint(ctx, 0) }
	if r.settle {
		checkpoint = func() (*Snapshot, error) { return g.Settle(ctx, 0) }
	}
	s, err := checkpoint()
	if err != nil {
		r.t.Fatal(err)
	}
	r.stored.apply(r.t, s)
	r.snapshot = s
}

func newToyRun(t *testing.T, workers, shards int) *toyRun {
	return &toyRun{
		t: t, workers: workers, shards: shards, stored: make(records), dict: state.NewDictionary(), alerter: toyAlerter{},
	}
}

func toyLog(seed uint64, n int) []string {
	rng := rand.New(rand.NewPCG(seed, 9))
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%c %d", 'a'+rng.IntN(5), i/3))
	}
	return lines
}
