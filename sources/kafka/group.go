package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
)

// Group is a Source whose partitions are assigned by its consumer group: a
// member of the group. Its life is a row of tenures: join, hear what is
// assigned, ask the Keeper where to read from, write down that the tenure
// begins, read; and when the group agrees anew, stop reading, let the Keeper
// make durable and commit what was emitted, and join again.
type Group struct {
	*Source
	keeper sources.Keeper // nil without state
	self   string         // what this member's tenures are called

	// id is the member's id, empty before the coordinator gave one. Run and,
	// between its begin and end, the goroutine of heartbeats use it and control.
	id      string
	control coordinator
	uneven  string         // what was last said about topics of different sizes
	first   map[string]int // the topics and numbers of partitions that Run began with

	// offsets is for commits, by whom enterOffsets lets in.
	offsets coordinator
	lock    chan struct{}

	mu      sync.Mutex // guards what follows, and the tenure's parts
	current *tenure    // nil between tenures
	// emitted and done are the offsets after what was emitted and committed in
	// the tenure; news is closed when done grows.
	emitted, done sources.Positions
	news          chan struct{}
}

var _ sources.Member = (*Group)(nil)

// NewGroup makes a source that is a member of c.Group. Nothing is connected before Run.
func NewGroup(name string, c Config, env sources.Env) (*Group, error) {
	s, err := New(name, c, env)
	if err != nil {
		return nil, err
	}
	return &Group{
		Source: s, self: rand.Text(), control: coordinator{s: s}, offsets: coordinator{s: s},
		lock: make(chan struct{}, 1), news: make(chan struct{}),
	}, nil
}

// Keep implements sources.Member.
func (g *Group) Keep(k sources.Keeper) { g.keeper = k }

// Run implements sources.Source. It takes no positions: the Keeper has them.
func (g *Group) Run(ctx context.Context, _ sources.Positions, out sources.Emit) error {
	defer g.cluster.close()
	if g.keeper != nil {
		g.self = g.keeper.Name()
		if !memberName.MatchString(g.self) {
			return fmt.Errorf("kafka: the state's name %q cannot be that of a group's member; it has up to 64 letters, digits, dots, dashes and underscores", g.self)
		}
	}
	wait := g.newBackoff()
	for late := false; ; late = true {
		counts, err := g.subscribe(ctx, late)
		if err != nil {
			return err
		}
		if !late {
			g.first = counts
		}
		gen, err := g.join(ctx, counts)
		if err == nil {
			g.health.Well("group")
			wait.Reset()
			if err := g.hold(ctx, gen, out); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if final := g.final(err); final != nil {
			return final
		}
		if !errors.Is(err, kafka.RebalanceInProgress) && !errors.Is(err, kafka.UnknownMemberId) {
			g.health.Failed("group", g.explain(err))
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// final returns a sentence for errors of joining that only a person can end.
func (g *Group) final(err error) error {
	remedy := ""
	switch {
	case errors.Is(err, kafka.InconsistentGroupProtocol):
		remedy = "; its other members are no Sluice, or of another version: give this source a group of its own"
	case errors.Is(err, kafka.InvalidSessionTimeout):
		remedy = "; set session_timeout to what the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms allow"
	case errors.Is(err, kafka.GroupMaxSizeReached):
		remedy = "; raise the brokers' group.max.size"
	case errors.Is(err, kafka.InvalidGroupId):
		remedy = "; choose another group"
	case !g.refused(err):
		return nil
	}
	return fmt.Errorf("%w%s", g.explain(err), remedy)
}

// subscribe returns the topics to read and their numbers of partitions, once
// the brokers and, at the start, the topics are there.
func (g *Group) subscribe(ctx context.Context, late bool) (map[string]int, error) {
	for wait := g.newBackoff(); ; {
		counts, missing, err := g.wanted(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case g.refused(err):
			return nil, g.explain(err)
		case err != nil:
			g.health.Failed("metadata", g.explain(err))
		case missing != "" && !late && g.config.MissingTopic == missingFail:
			return nil, fmt.Errorf("kafka: topic %q does not exist at %s; create it or set missing_topic: wait",
				missing, strings.Join(g.config.Brokers, ", "))
		case missing != "" && len(counts) == 0:
			g.health.Failed("metadata", fmt.Errorf("kafka: topic %q does not exist yet; waiting for it", missing))
		default:
			g.health.Well("metadata")
			return counts, nil
		}
		if err := wait.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wanted asks which of the topics to read there are.
func (g *Group) wanted(ctx context.Context) (counts map[string]int, missing string, err error) {
	parts, missing, err := g.lookUp(ctx)
	counts = make(map[string]int)
	for _, p := range parts {
		counts[p.Topic]++
	}
	return counts, missing, err
}

// watch ends the tenure when topics come, go or grow.
func (g *Group) watch(ctx context.Context, t *tenure) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.clock.After(g.config.MetadataInterval):
		}
		now, _, err := g.wanted(ctx)
		if err == nil {
			all := maps.Clone(t.counts)
			err = g.count(ctx, all)
			maps.Copy(now, all)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			g.health.Failed("metadata", g.explain(err))
			continue
		}
		g.health.Well("metadata")
		if !maps.Equal(now, t.counts) {
			t.end(errTopics)
			return ctx.Err()
		}
	}
}

// held returns what this member announces.
func (g *Group) held() held {
	h := held{name: g.self, topics: make(map[string]map[int32]int64)}
	if g.keeper == nil {
		return h
	}
	for part, offset := range g.keeper.Held() {
		if part.Source != g.Name() || offset < 0 {
			continue
		}
		if h.topics[part.Topic] == nil {
			h.topics[part.Topic] = make(map[int32]int64)
		}
		h.topics[part.Topic][part.ID] = offset
	}
	return h
}

// hold is one tenure, from what the group agreed on until it is to agree
// anew. An error ends Run.
func (g *Group) hold(ctx context.Context, gen generation, out sources.Emit) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var once sync.Once
	ended := g.clock.Now()
	t := &tenure{generation: gen, parts: make(map[pipeline.Partition]claim)}
	t.end = func(reason error) {
		once.Do(func() {
			ended = g.clock.Now()
			cancel(reason)
		})
	}
	g.mu.Lock()
	g.current, g.emitted, g.done = t, make(sources.Positions), make(sources.Positions)
	g.mu.Unlock()
	g.log.Info("a tenure begins", "generation", gen.id, "partitions", len(gen.assigned))

	// Heartbeats go on until all is committed.
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beats sync.WaitGroup
	beats.Go(func() { g.beat(beating, t) })
	defer beats.Wait()
	defer stop()

	taken, err := g.read(reading, t, out)
	if ctx.Err() == nil && context.Cause(reading) == nil {
		return err
	}
	t.end(ctx.Err())
	reason := context.Cause(reading)
	g.log.Info("a tenure ends", "generation", gen.id, "why", reason)
	if err := g.revoke(context.WithoutCancel(ctx), ended, taken, ctx.Err() != nil); err != nil {
		g.log.Warn("what was read is not all committed; it is read again where the partitions go", "error", err)
	}
	if ctx.Err() != nil {
		return ctx.Err() // the tenure goes on until Close: the last commits may be yet to come
	}
	g.mu.Lock()
	g.current = nil
	g.mu.Unlock()
	for _, part := range gen.assigned {
		g.forget(part)
	}
	return nil
}

// read asks the Keeper where to begin, writes down that the tenure begins, and
// reads until ctx ends. It returns the partitions that the Keeper took.
func (g *Group) read(ctx context.Context, t *tenure, out sources.Emit) ([]pipeline.Partition, error) {
	known, err := g.ask(ctx, t)
	if err != nil {
		return nil, err
	}
	from, err := g.places(ctx, t, known)
	if err != nil {
		return nil, err
	}
	taken := sortedPartitions(from)
	at := make(sources.Positions)
	for part, offset := range from {
		if known[part].committed >= 0 {
			at[part] = known[part].committed
		} else if offset >= 0 {
			at[part] = offset
		}
	}
	if err := g.claim(ctx, t, at, known); err != nil {
		return taken, err
	}
	holding := g.held()
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range taken {
		offset := from[part]
		if offset < 0 {
			offset = known[part].committed // where its first tenure began, if it had one
		}
		stands, ok := holding.topics[part.Topic][part.ID]
		f := g.newFetcher(part, start{
			offset: offset, resumed: ok && stands == offset, late: int(part.ID) >= g.first[part.Topic],
		}, g.counted(out))
		f.onPlace = func(ctx context.Context, offset int64) error {
			return g.claim(ctx, t, sources.Positions{part: offset}, known)
		}
		group.Go(func() error { return f.run(ctx) })
	}
	group.Go(func() error { return g.watch(ctx, t) })
	return taken, group.Wait()
}

// ask asks where the group stands, until it is heard.
func (g *Group) ask(ctx context.Context, t *tenure) (map[pipeline.Partition]standing, error) {
	for wait := g.newBackoff(); ; {
		known, err := g.standings(ctx, t.assigned)
		switch {
		case err == nil:
			return known, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case g.refused(err):
			return nil, g.explain(err)
		}
		g.health.Failed("group", g.explain(err))
		if err := wait.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// places returns where partitions are to be read from.
func (g *Group) places(ctx context.Context, t *tenure, known map[pipeline.Partition]standing) (sources.Positions, error) {
	if len(t.assigned) == 0 {
		return nil, nil
	}
	from := make(sources.Positions)
	var assignments []sources.Assignment
	for _, part := range t.assigned {
		st := known[part]
		from[part] = st.committed
		a := sources.Assignment{Partition: part, Committed: st.committed, History: st.history(g.self)}
		if st.untouched() {
			a.Committed = -1
		}
		assignments = append(assignments, a)
	}
	if g.keeper == nil {
		return from, nil
	}
	from, err := g.keeper.Assigned(ctx, assignments)
	if err != nil {
		return nil, fmt.Errorf("kafka: taking over partitions of group %q: %w", g.config.Group, err)
	}
	for part := range from {
		if _, ok := slices.BinarySearchFunc(t.assigned, part, comparePartitions); !ok {
			return nil, fmt.Errorf("kafka: the state asks for %s, which is not assigned to it", part)
		}
	}
	return from, nil
}

// revokeBound is how long a revoke may take: with the time until a heartbeat
// tells of it, it is well below what the coordinator waits for.
func (g *Group) revokeBound() time.Duration {
	return min(g.config.SessionTimeout, g.config.RebalanceTimeout) / 3
}

// revoke gives the runtime until the bound, counted from when the tenure ended,
// to commit what was emitted.
func (g *Group) revoke(ctx context.Context, ended time.Time, taken []pipeline.Partition, stopping bool) error {
	if len(taken) == 0 {
		return nil
	}
	ctx, cancel := g.within(ctx, g.revokeBound()-g.clock.Now().Sub(ended))
	defer cancel()
	if g.keeper != nil {
		return g.keeper.Revoked(ctx, taken)
	}
	if stopping {
		return nil // commits come when Run has returned
	}
	return g.settled(ctx)
}

// within returns a context that ends when d has passed by the source's clock.
func (g *Group) within(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var timer sync.WaitGroup
	timer.Go(func() {
		if d <= 0 {
			cancel(context.DeadlineExceeded)
			return
		}
		select {
		case <-g.clock.After(d):
			cancel(context.DeadlineExceeded)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		timer.Wait()
	}
}

// counted remembers how far partitions were emitted.
func (g *Group) counted(out sources.Emit) sources.Emit {
	return func(ctx context.Context, b *pipeline.RecordBatch) error {
		if len(b.Records) == 0 {
			return out(ctx, b)
		}
		part, after := b.Partition, b.Records[len(b.Records)-1].Offset+1
		if err := out(ctx, b); err != nil {
			return err
		}
		g.mu.Lock()
		g.emitted[part] = after
		g.mu.Unlock()
		return nil
	}
}

// accepted remembers how far partitions were committed.
func (g *Group) accepted(at sources.Positions) {
	if len(at) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for part, offset := range at {
		g.done[part] = max(g.done[part], offset)
	}
	close(g.news)
	g.news = make(chan struct{})
}

// settled waits until all that was emitted in the tenure is committed.
func (g *Group) settled(ctx context.Context) error {
	for {
		g.mu.Lock()
		open := 0
		for part, after := range g.emitted {
			if g.done[part] < after {
				open++
			}
		}
		news := g.news
		g.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d partitions: %w", open, context.Cause(ctx))
		case <-news:
		}
	}
}

func (g *Group) enterOffsets(ctx context.Context) error {
	select {
	case g.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Group) leaveOffsets() { <-g.lock }

// Close implements sources.Source. It leaves the group: nothing is committed after it.
func (g *Group) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.config.RequestTimeout)
	defer cancel()
	if err := g.depart(ctx); err != nil {
		g.log.Warn("the group was not left: its other members wait until the session ends", "error", err)
	}
	g.control.close()
	g.offsets.close()
	return g.Source.Close()
}

func sortedPartitions(of sources.Positions) []pipeline.Partition {
	return slices.SortedFunc(maps.Keys(of), comparePartitions)
}
