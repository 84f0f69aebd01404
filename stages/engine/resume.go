package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/detect"
	"sluice/stages/parse"
)

// StateOptions lend a graph the store that keeps its state.
type StateOptions struct {
	// Dictionary gives the numbers in records.
	Dictionary *state.Dictionary
	// Cold reads back buckets that have left memory; nil keeps all in memory.
	Cold detect.Cold
	// MemoryLimit is about how many bytes the buckets in memory may take, dealt
	// evenly to the shards; 0 is no limit.
	MemoryLimit int64
}

// Resumption is a graph in the making, out of the records of a state: first
// Load for every record, then Graph.
type Resumption struct {
	engine  *Engine
	options GraphOptions
	running *running
	coder   *pipeline.KeptCoder
	dict    *state.Dictionary
	shards  []lockedShard // the last is the alert lane's
	records atomic.Int64

	mu      sync.Mutex // guards what follows
	orphans state.Writer
	pending []pipeline.PendingAlert
	lines   []*pipeline.WaitingLine
}

// lockedShard lets several loaders fill a shard.
type lockedShard struct {
	mu sync.Mutex
	*detect.Shard
}

// Resume begins to make a graph whose state is durable: a new graph when Load
// is never called.
func (e *Engine) Resume(o GraphOptions, s StateOptions) (*Resumption, error) {
	running, err := e.newRunning(&o)
	if err != nil {
		return nil, err
	}
	running.dict = s.Dictionary
	e.Ledger.Durable()
	r := &Resumption{engine: e, options: o, running: running, dict: s.Dictionary}
	r.coder = pipeline.NewKeptCoder(e.Schema, s.Dictionary, e.Detector.ScenarioIDs())
	r.shards = make([]lockedShard, o.Shards+1)
	for i := range r.shards {
		so := e.shardOptions()
		so.Coder, so.Index = r.coder, i
		so.Cold, so.MemoryLimit = s.Cold, s.MemoryLimit/int64(len(r.shards))
		r.shards[i].Shard = e.Detector.NewShard(so)
	}
	return r, nil
}

// Load takes one record, of any kind but positions and clocks. It is safe for
// concurrent use. Records whose scenario is not among the rules any more, or
// is defined otherwise, are left out and deleted.
func (r *Resumption) Load(key, value []byte, sum state.Sum) error {
	r.records.Add(1)
	taken := true
	var err error
	switch kind := state.Kind(key[0]); kind {
	case state.KindBucket, state.KindBlackhole:
		taken, err = r.loadShard(key, value, sum)
	case state.KindShardClock:
		for i := range r.shards {
			if _, err = r.shards[i].load(key, value, sum); err != nil {
				break
			}
		}
	case state.KindStash:
		taken, err = r.loadStash(key, value, sum)
	case state.KindDecisions:
		err = r.engine.Ledger.Load(key, value, sum)
	case state.KindPending:
		taken, err = r.loadPending(key, value, sum)
	case state.KindLine:
		err = r.loadLine(key, value, sum)
	default:
		err = fmt.Errorf("the state holds a record of the unknown kind %s: a newer version wrote it; use that version", kind)
	}
	if err == nil && !taken {
		r.mu.Lock()
		r.orphans.Delete(key, sum)
		r.mu.Unlock()
	}
	return err
}

func (s *lockedShard) load(key, value []byte, sum state.Sum) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Load(key, value, sum)
}

func (r *Resumption) loadShard(key, value []byte, sum state.Sum) (bool, error) {
	e := r.engine
	doc, bucketKey, known := e.Detector.Owner(r.coder, key)
	if !known {
		return false, nil
	}
	i := len(r.shards) - 1
	if !e.Matcher.Consumer(doc) {
		i = int(e.Matcher.Route(doc, bucketKey) % uint64(r.options.Shards))
	}
	return r.shards[i].load(key, value, sum)
}

func (r *Resumption) loadStash(key, value []byte, sum state.Sum) (bool, error) {
	number, ok := parse.StashPartition(key)
	if !ok {
		return false, fmt.Errorf("the key %q of a stash's record: %w", key, pipeline.ErrCut)
	}
	p, ok := pipeline.PartitionOf(r.dict, number)
	if !ok {
		return false, fmt.Errorf("a stash belongs to partition number %d: %w", number, pipeline.ErrCut)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running.stash(p).Load(key, value, sum)
}

func (r *Resumption) loadPending(key, value []byte, sum state.Sum) (bool, error) {
	o, _, err := r.coder.DecodeOverflow(value)
	if errors.Is(err, pipeline.ErrUnknownScenario) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = append(r.pending, pipeline.PendingAlert{Key: slices.Clone(key), Sum: sum, Overflow: &o})
	return true, nil
}

func (r *Resumption) loadLine(key, value []byte, sum state.Sum) error {
	l, err := pipeline.DecodeLine(key, value, sum, r.dict, r.coder.DecodePour)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, l)
	return nil
}

// Records is how many records were loaded.
func (r *Resumption) Records() int { return int(r.records.Load()) }

// Graph makes the graph, whose partitions stand at the given offsets and
// clocks. What nobody took is to be deleted with the next epoch.
func (r *Resumption) Graph(next map[pipeline.Partition]int64, clocks map[pipeline.Partition]time.Time) (*pipeline.Graph, *state.Writer, error) {
	for i := range r.shards {
		r.shards[i].Loaded()
	}
	for _, s := range r.running.stashes {
		s.Loaded()
	}
	r.engine.Ledger.Loaded()
	if len(r.lines) > 0 && r.options.Merge == nil {
		return nil, nil, fmt.Errorf("the state holds %d lines that wait to be merged with those of other partitions, "+
			"and pipeline.order is arrival: set it to merged, or run sluice state reset to start empty", len(r.lines))
	}
	e := r.engine
	o := e.pipelineOptions(&r.options, r.running, func(i int) *detect.Shard { return r.shards[i].Shard })
	o.Coder, o.Dictionary = r.coder, r.dict
	o.Front = front{r.running}
	o.LateAlerts = e.opts.ReverseDNS
	g, err := pipeline.NewGraph(o)
	if err != nil {
		return nil, nil, err
	}
	g.Resume(next, clocks)
	g.ResumeLines(r.lines)
	g.ResumeAlerts(r.pending)
	return g, &r.orphans, nil
}
