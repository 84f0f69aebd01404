package checkpoint

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/detect"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// world is a graph over a store, fed with pours of numbered sources.
type world struct {
	engine *engine.Engine
	store  *state.Store
	cp     *pipeline.Checkpointer
	graph  *pipeline.Graph
	part   pipeline.Partition
	offset int64

	mu     sync.Mutex
	pauses []time.Duration // for which a shard wrote instead of pouring
	spent  state.Committed // added up
}

func newWorld(b *testing.B, durable bool) *world {
	b.Helper()
	set, err := rules.Load(rules.Options{Roots: []string{"../../configs/rules"}, Collections: []string{"sluice/linux"}, Strict: true})
	if err != nil {
		b.Fatal(err)
	}
	w := &world{part: pipeline.Partition{Source: "bench", Topic: "logs"}}
	var errs []error
	if w.engine, errs = engine.Compile(set, engine.Options{Free: true, Lateness: 5 * time.Minute}); len(errs) > 0 {
		b.Fatal(errs)
	}
	if durable {
		w.begin(b, b.TempDir())
	}
	return w
}

// begin makes a new state.
func (w *world) begin(b *testing.B, dir string) {
	b.Helper()
	w.open(b, dir)
	if err := w.store.Load(func(_, _ []byte, _ state.Sum) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

func (w *world) open(b *testing.B, dir string) {
	b.Helper()
	var err error
	if w.store, err = state.Open(state.Options{Dir: dir}); err != nil {
		b.Fatal(err)
	}
	w.cp = pipeline.NewCheckpointer(pipeline.CheckpointOptions{
		Store: w.store, Interval: time.Second, MinInterval: time.Second, Clock: wallClock{},
		Entries: func(*pipeline.Outcome) ([]pipeline.CausedEntry, error) { return nil, nil },
		Durable: func(_ context.Context, e *pipeline.DurableEpoch) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.spent.Encoded += e.Encoded
			w.spent.Bytes += e.Bytes
			return nil
		},
	})
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// sshBf is the index of the scenario that the pours are for.
func (w *world) sshBf(b *testing.B) int32 {
	i := slices.IndexFunc(w.engine.Set.Scenarios, func(s *rules.Scenario) bool { return s.Name == "sluice/ssh-bf" })
	if i < 0 {
		b.Fatal("there is no scenario sluice/ssh-bf")
	}
	return int32(i)
}

// options are those of a graph whose workers make pours of numbers.
func (w *world) options(b *testing.B, shards int) pipeline.Options {
	e := w.engine
	keep := &pipeline.KeepSet{}
	e.Detector.AddReads(keep)
	slots := map[pipeline.Slot]string{
		e.Schema.Slot(pipeline.Meta, "service"):     "ssh",
		e.Schema.Slot(pipeline.Meta, "log_type"):    "ssh_failed-auth",
		e.Schema.Slot(pipeline.Meta, "target_user"): "administrator",
		e.Schema.Slot(pipeline.Meta, "machine"):     "gate-eu-west-1",
	}
	ip := e.Schema.Slot(pipeline.Meta, "source_ip")
	keep.Prepare(e.Schema)
	scenario := w.sshBf(b)
	seed := maphash.MakeSeed()
	o := pipeline.Options{
		Workers: 1, Shards: shards,
		NewWorker: func() pipeline.Worker {
			return &pourer{event: pipeline.NewEvent(e.Schema), slots: slots, ip: ip, keep: keep, scenario: scenario, seed: seed}
		},
		NewShard: func(i int) pipeline.Shard { return w.shard(i, nil) },
		Alerter:  noAlerts{},
		Deliver:  func(context.Context, *pipeline.Outcome) error { return nil },
	}
	if w.store != nil {
		coder := pipeline.NewKeptCoder(e.Schema, w.store.Dictionary(), e.Detector.ScenarioIDs())
		o.NewShard = func(i int) pipeline.Shard { return w.shard(i, coder) }
		o.Coder, o.Dictionary, o.Deliver = coder, w.store.Dictionary(), w.cp.Deliver
	}
	return o
}

func (w *world) shard(i int, coder *pipeline.KeptCoder) pipeline.Shard {
	s := w.engine.Detector.NewShard(detect.ShardOptions{Free: true, Lateness: 5 * time.Minute, Coder: coder, Index: i})
	if coder == nil {
		return s
	}
	return &timedShard{Shard: s, w: w}
}

// timedShard times what a shard does that is not pouring.
type timedShard struct {
	*detect.Shard
	w *world
}

func (s *timedShard) Freeze() {
	began := time.Now()
	s.Shard.Freeze()
	s.w.paused(time.Since(began))
}

func (s *timedShard) Encode(n int) *state.Writer {
	began := time.Now()
	out := s.Shard.Encode(n)
	s.w.paused(time.Since(began))
	return out
}

func (w *world) paused(d time.Duration) {
	w.mu.Lock()
	w.pauses = append(w.pauses, d)
	w.mu.Unlock()
}

// pourer is a worker that pours each record, a number, into the bucket of its address.
type pourer struct {
	event    *pipeline.Event
	slots    map[pipeline.Slot]string
	ip       pipeline.Slot
	keep     *pipeline.KeepSet
	scenario int32
	seed     maphash.Seed
}

func (p *pourer) Work(b *pipeline.Batch, _ *pipeline.Turn) {
	for i := range b.Records.Records {
		r := &b.Records.Records[i]
		n := binary.LittleEndian.Uint32(r.Value)
		key := "10." + strconv.Itoa(int(n>>16&255)) + "." + strconv.Itoa(int(n>>8&255)) + "." + strconv.Itoa(int(n&255))
		ev := p.event
		ev.Reset()
		ev.Position = pipeline.Position{Partition: b.Records.Partition, Offset: r.Offset}
		ev.Time, ev.Received = r.Time, r.Time
		for slot, value := range p.slots {
			ev.Set(slot, value)
		}
		ev.Set(p.ip, key)
		kept := b.Arena.Keep(ev, p.keep)
		b.Pours = append(b.Pours, pipeline.Pour{
			Scenario: p.scenario, Line: int32(i), Route: maphash.String(p.seed, key), Key: kept.Get(p.ip), Event: kept,
		})
	}
	b.Steps = append(b.Steps, pipeline.ClockStep{Clock: b.Records.Records[0].Time})
}

type noAlerts struct{}

func (noAlerts) Alert(context.Context, *pipeline.Overflow) *pipeline.RuntimeAlert { return nil }
func (noAlerts) Repours(*pipeline.Overflow) bool                                  { return false }
func (noAlerts) Repour(_ *pipeline.RuntimeAlert, _ *pipeline.Overflow, _ *pipeline.KeptArena, out []pipeline.Pour) []pipeline.Pour {
	return out
}

// emit pours once into each of the buckets from first on, at a time.
func (w *world) emit(ctx context.Context, first, n int, at time.Time) error {
	const most = 512
	for n > 0 {
		rb := &pipeline.RecordBatch{Partition: w.part, HighWatermark: -1}
		for range min(n, most) {
			rb.Records = append(rb.Records, pipeline.Record{
				Value: binary.LittleEndian.AppendUint32(nil, uint32(first)), Offset: w.offset, Time: at,
			})
			first++
			w.offset++
		}
		n -= len(rb.Records)
		if err := w.graph.Emit(ctx, rb); err != nil {
			return err
		}
	}
	return nil
}

// run runs a graph while feed feeds it, and makes durable what it was fed.
func (w *world) run(b *testing.B, o pipeline.Options, feed func(ctx context.Context) error) {
	b.Helper()
	var err error
	if w.graph, err = pipeline.NewGraph(o); err != nil {
		b.Fatal(err)
	}
	eg, ctx := errgroup.WithContext(b.Context())
	running, stop := context.WithCancel(ctx)
	defer stop()
	eg.Go(func() error { return w.graph.Run(ctx) })
	if w.cp != nil {
		w.cp.Attach(w.graph)
		eg.Go(func() error { return w.cp.Run(running) })
	}
	eg.Go(func() error {
		defer w.graph.Close()
		defer stop()
		if err := feed(ctx); err != nil || w.cp == nil {
			return err
		}
		return w.cp.Checkpoint(ctx)
	})
	if err := eg.Wait(); err != nil {
		b.Fatal(err)
	}
}

// cpu is the processor time that the process has taken, and the bytes it has had written.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*p))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func engineOptions() engine.GraphOptions {
	return engine.GraphOptions{Workers: 1, Shards: 2, Deliver: func(context.Context, *pipeline.Outcome) error { return nil }}
}

func engineState(s *state.Store) engine.StateOptions {
	return engine.StateOptions{Dictionary: s.Dictionary()}
}
