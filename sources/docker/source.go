package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

const (
	// module is evt.Line.Module.
	module = "docker"

	// placePrefix and the id are the mark of a container's place.
	placePrefix = "container/"
	// beginMark is the mark that holds the time from which containers without a place are read.
	beginMark = "begin"
	// engine is what is told to fail when the engine does.
	engine = "the engine"
)

// Source reads containers' logs. See the package's comment.
type Source struct {
	name   string
	config Config
	log    *slog.Logger
	clock  sources.Clock
	health *sources.Health
	intake *intake.Intake
	until  time.Time

	skipped, cut, gaps atomic.Uint64
}

// New makes the source. It connects to nothing.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	in, err := intake.New(name, module, c.intake(), env)
	if err != nil {
		return nil, err
	}
	log := env.Log.With("source", name)
	return &Source{name: name, config: c, log: log, clock: env.Clock, health: sources.NewHealth(log), intake: in}, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(...pipeline.Partition)) { s.intake.Announce(tell) }

// Run implements sources.Source. It ends with nil where it does not follow and
// has read what there is, and with a sentence when certificates cannot be used.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	client, err := newClient(&s.config)
	if err != nil {
		return err
	}
	defer client.close()
	if s.until, err = instant(s.config.Until, s.clock.Now()); err != nil {
		return err
	}
	return s.intake.Run(ctx, from, out, func(ctx context.Context) error { return s.receive(ctx, client) })
}

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.intake.Commit(ctx, next)
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var stats sources.Stats
	s.intake.Fill(&stats)
	s.health.Fill(&stats)
	stats.Skipped += s.skipped.Load()
	stats.Cut += s.cut.Load()
	stats.Gaps += s.gaps.Load()
	return stats
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.intake.Close() }

// begin returns the time from which containers without a place are read. It is
// written down, so that a later start does not skip what came between.
func (s *Source) begin(ctx context.Context) (*place, error) {
	if text, ok := s.intake.Marks()[beginMark]; ok {
		return parsePlace(text)
	}
	now := s.clock.Now()
	at, err := instant(s.config.Since, now)
	if err != nil {
		return nil, err
	}
	p := &place{}
	switch {
	case !at.IsZero():
		p = placeAt(at)
	case s.config.Follow:
		p = placeAt(now)
	}
	return p, s.intake.PutWait(ctx, intake.Entry{Marks: map[string]string{beginMark: p.String()}})
}

// receive reads all chosen containers.
func (s *Source) receive(ctx context.Context, client *client) error {
	begin, err := s.begin(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	w := &watch{
		Source: s, client: client, begin: begin, group: g, readers: make(map[string]bool), touched: make(map[string]bool), drained: make(map[string]bool),
		unreadable: make(map[string]bool), ended: make(chan *reader), happened: make(chan string, 64),
	}
	if s.config.Follow {
		g.Go(func() error { return w.listen(ctx) })
	}
	g.Go(func() error { return w.run(ctx) })
	return g.Wait()
}

// watch knows which containers there are. Its maps are the goroutine's of run.
type watch struct {
	*Source
	client *client
	begin  *place
	group  *errgroup.Group

	readers map[string]bool // by id: a reader runs
	touched map[string]bool // by id: something has happened to it since its reader began
	drained map[string]bool // by id: the container had stopped, and all of its lines were read
	// unreadable says by id that a log cannot be read, which stays so as long as the container does.
	unreadable map[string]bool

	ended    chan *reader // readers that have ended
	happened chan string  // ids that an event told of; "" when events may have been missed
}

// run looks for containers now and then, and when something has happened.
func (w *watch) run(ctx context.Context) error {
	backoff := sources.Backoff{Clock: w.clock, Min: w.config.BackoffMin, Max: w.config.BackoffMax}
	for {
		err := w.scan(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stop):
			return stop.error
		case err != nil:
			w.client.version.Store(nil) // another engine may answer next
			w.health.Failed(engine, err)
			if err := backoff.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		w.health.Well(engine)
		backoff.Reset()
		if !w.config.Follow {
			return nil
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// wait waits until containers are to be looked for.
func (w *watch) wait(ctx context.Context) error {
	timer := w.clock.After(w.config.CheckInterval)
	for {
		select {
		case r := <-w.ended:
			delete(w.readers, r.id)
			w.drained[r.id] = !w.touched[r.id]
			w.unreadable[r.id] = r.unreadable
		case id := <-w.happened:
			w.touch(id)
			return nil
		case <-timer:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// touch notes that something happened to a container, or, with "", to any:
// that its log had been read to the end does not hold any more.
func (w *watch) touch(id string) {
	if id != "" {
		delete(w.drained, id)
		w.touched[id] = true
		return
	}
	clear(w.drained)
	for id := range w.readers {
		w.touched[id] = true
	}
}

// scan starts a reader for each chosen container that has none, and forgets those that are gone.
func (w *watch) scan(ctx context.Context) error {
	if w.client.version.Load() == nil {
		if err := w.client.greet(ctx); err != nil {
			return err
		}
	}
	containers, err := w.client.list(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool)
	marks := w.intake.Marks()
	for i := range containers {
		k := &containers[i]
		there[k.ID] = true
		labels, ok := w.config.chosen(k)
		switch {
		case !ok || w.readers[k.ID] || w.unreadable[k.ID]:
			continue
		case k.State == "running":
			delete(w.drained, k.ID)
		case w.drained[k.ID]:
			continue
		}
		at, err := w.placeOf(k.ID, marks)
		if err != nil {
			return &stopError{err}
		}
		w.readers[k.ID] = true
		delete(w.touched, k.ID)
		r := &reader{
			Source: w.Source, client: w.client, id: k.ID, name: k.name(), image: k.Image, labels: labels, place: at,
			backoff: sources.Backoff{Clock: w.clock, Min: w.config.BackoffMin, Max: w.config.BackoffMax},
		}
		w.group.Go(func() error { return w.read(ctx, r) })
	}
	return w.forget(ctx, there, marks)
}

func (w *watch) read(ctx context.Context, r *reader) error {
	if err := r.run(ctx); err != nil || !w.config.Follow {
		return err
	}
	select {
	case w.ended <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watch) placeOf(id string, marks map[string]string) (*place, error) {
	if text, ok := marks[placePrefix+id]; ok {
		return parsePlace(text)
	}
	return &place{since: w.begin.since}, nil
}

// forget forgets the places of containers that are not there any more.
func (w *watch) forget(ctx context.Context, there map[string]bool, marks map[string]string) error {
	gone := make(map[string]string)
	for mark := range marks {
		if id, ok := strings.CutPrefix(mark, placePrefix); ok && !there[id] && !w.readers[id] {
			gone[mark] = ""
		}
	}
	maps.DeleteFunc(w.drained, func(id string, _ bool) bool { return !there[id] })
	maps.DeleteFunc(w.touched, func(id string, _ bool) bool { return !there[id] })
	maps.DeleteFunc(w.unreadable, func(id string, _ bool) bool { return !there[id] })
	if len(gone) == 0 {
		return nil
	}
	if err := w.intake.Put(ctx, intake.Entry{Marks: gone}, nil); err != nil {
		return &stopError{err}
	}
	return nil
}

// listen passes on what the engine tells of containers.
func (w *watch) listen(ctx context.Context) error {
	backoff := sources.Backoff{Clock: w.clock, Min: w.config.BackoffMin, Max: w.config.BackoffMax}
	for {
		body, err := w.client.events(ctx)
		if err == nil {
			backoff.Reset()
			err = w.pass(ctx, body)
			body.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Looking for containers now and then tells of trouble, and goes on without events.
		w.log.Debug("the engine's events are interrupted", "error", err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// pass passes events on until they end.
func (w *watch) pass(ctx context.Context, body io.Reader) error {
	tell := func(id string) error {
		select {
		case w.happened <- id:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := tell(""); err != nil { // what happened before is not known
		return err
	}
	limited := &io.LimitedReader{R: body}
	events := json.NewDecoder(limited)
	for {
		limited.N = maxEvent
		var e struct {
			ID    string `json:"id"`
			Actor struct{ ID string }
		}
		if err := events.Decode(&e); err != nil {
			return fmt.Errorf("reading the engine's events: %w", err)
		}
		if e.ID == "" {
			e.ID = e.Actor.ID
		}
		if err := tell(e.ID); err != nil {
			return err
		}
	}
}

// maxEvent bounds an event.
const maxEvent = 1 << 20
