package app

import (
	"context"
	"errors"
	"sync"

	"sluice/pipeline"
)

// graphs runs one graph after another: the sources notice nothing of a change.
type graphs struct {
	intake *intake

	mu      sync.Mutex
	current *graphRun
	// next is where the graph comes from that follows the one that ends; nil
	// when none does.
	next    chan *graphRun
	closing bool          // the sources have ended
	broken  error         // why a change could not even begin
	over    chan struct{} // closed when run returns
}

// graphRun is a graph with the beginning and the end of its Run.
type graphRun struct {
	*pipeline.Graph
	begun, ended chan struct{}
}

func newGraphRun(g *pipeline.Graph) *graphRun {
	return &graphRun{g, make(chan struct{}), make(chan struct{})}
}

func (gs *graphs) graph() *graphRun {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.current
}

// run runs the current graph, and those that follow it.
func (gs *graphs) run(ctx context.Context) error {
	defer close(gs.over)
	for {
		g := gs.graph()
		gs.intake.open(g.Graph)
		close(g.begun)
		err := g.Run(ctx)
		close(g.ended)
		gs.mu.Lock()
		next, broken := gs.next, gs.broken
		gs.mu.Unlock()
		if err = errors.Join(err, broken); err != nil || next == nil {
			return err
		}
		select {
		case follower := <-next:
			if follower == nil {
				return errors.New("the graph that was to follow could not be made")
			}
			gs.mu.Lock()
			gs.current, gs.next = follower, nil
			if gs.closing {
				follower.Close()
			}
			gs.mu.Unlock()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close says that nothing will be emitted any more: run ends when all that was is through.
func (gs *graphs) close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closing = true
	gs.current.Close()
}

// replace ends the current graph once it is through with all it took, and
// puts another in its place. finish is called when nothing more enters the
// old graph, begin when it has ended. An error of either ends run: the old
// graph takes nothing any more.
func (gs *graphs) replace(finish func() error, begin func() (*pipeline.Graph, error)) error {
	old := gs.graph()
	gs.intake.empty()
	if err := finish(); err != nil {
		gs.mu.Lock()
		gs.broken = err
		gs.mu.Unlock()
		old.Close()
		return err
	}
	next := make(chan *graphRun, 1)
	gs.mu.Lock()
	gs.next = next
	gs.mu.Unlock()
	old.Close()
	<-old.ended
	g, err := begin()
	if err != nil {
		next <- nil
		return err
	}
	follower := newGraphRun(g)
	next <- follower
	select { // whoever replaces it must find it in place
	case <-follower.begun:
		return nil
	case <-gs.over:
		// Nobody runs it, and a checkpoint may wait for its end.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.Run(ended) // it says that it was cancelled
		return errors.New("the pipeline has ended")
	}
}
