package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"sluice/pipeline"
)

// intake is what sources emit into: the graph that runs at the moment, as
// long as nothing stands against reading more.
type intake struct {
	log *slog.Logger

	mu      sync.Mutex
	reasons map[string]bool // why nothing is taken; empty when all is well
	changed chan struct{}   // closed and made anew with every change
	graph   *pipeline.Graph
	parts   []pipeline.Partition // that every graph expects
	inside  int                  // calls of the graph's Emit under way
}

func newIntake(log *slog.Logger) *intake {
	return &intake{log: log, reasons: make(map[string]bool), changed: make(chan struct{})}
}

// change must be called with the lock held.
func (in *intake) change() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// hold stops the intake for a reason, or lets it go on; each change is logged once.
func (in *intake) hold(reason string, held bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.reasons[reason] == held {
		return
	}
	level := slog.LevelWarn
	if reason == holdMemory {
		level = slog.LevelDebug // it comes and goes many times a minute
	}
	if held {
		in.reasons[reason] = true
		in.log.Log(context.Background(), level, "nothing more is read for now", "reason", reason)
	} else {
		delete(in.reasons, reason)
		in.log.Log(context.Background(), min(level, slog.LevelInfo), "reading goes on", "reason_gone", reason)
	}
	in.change()
}

// open puts a graph behind the door; nil closes it.
func (in *intake) open(g *pipeline.Graph) {
	in.mu.Lock()
	defer in.mu.Unlock()
	g.Expect(in.parts...)
	in.graph = g
	in.change()
}

// expect names partitions to every graph; see pipeline.Graph.Expect.
func (in *intake) expect(parts ...pipeline.Partition) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.parts = append(in.parts, parts...)
	if in.graph != nil {
		in.graph.Expect(parts...)
	}
}

// empty closes the door and returns once no batch stands in it. A batch that
// is cut in the middle goes on in the next graph.
func (in *intake) empty() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.graph == nil {
		return
	}
	in.graph.Refuse()
	in.graph = nil
	for in.inside > 0 {
		changed := in.changed
		in.mu.Unlock()
		<-changed
		in.mu.Lock()
	}
}

// enter waits until a batch may enter a graph.
func (in *intake) enter(ctx context.Context) (*pipeline.Graph, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.graph == nil || len(in.reasons) > 0 {
		changed := in.changed
		in.mu.Unlock()
		select {
		case <-changed:
			in.mu.Lock()
		case <-ctx.Done():
			in.mu.Lock()
			return nil, ctx.Err()
		}
	}
	in.inside++
	return in.graph, nil
}

func (in *intake) left() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inside--
	in.change()
}

// emit implements sources.Emit.
func (in *intake) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	rest, whole := *b, true // b may be released and used again as soon as a graph has it all
	for {
		g, err := in.enter(ctx)
		if err != nil {
			if whole && b.Release != nil {
				b.Release()
			}
			return err
		}
		taken, err := g.EmitSome(ctx, &rest)
		in.left()
		if !errors.Is(err, pipeline.ErrRefused) {
			return err
		}
		rest.Rest(taken)
		whole = whole && taken == 0
	}
}
