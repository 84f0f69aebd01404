package simulation

import (
	"context"
	"errors"
	"sync"
	"time"

	"sluice/cmd/internal/app"
)

// point is a place where a process reaches the world, and may crash.
type point int

const (
	never point = iota
	beforeFetch
	beforeDurable
	afterDurable // and before the offsets are committed
	beforeCommit
	afterCommit // and before the answer
	beforeDelivery
	afterDelivery // and before the answer
	beforeCursor
	afterCursor
	duringLookUp
	points
)

var pointNames = [points]string{
	"never", "before a fetch", "before an epoch is durable", "after an epoch is durable", "before a commit", "after a commit",
	"before a delivery", "after a delivery", "before a cursor", "after a cursor", "during a look-up",
}

// errCrashed is what a crashed process gets from the world.
var errCrashed = errors.New("the process has crashed")

// process is one life of a member: a pipeline and the door through which it
// reaches the world. It is the pipeline's Clock and standard output, by which
// simulated sources and sinks find it.
type process struct {
	w      *world
	member *member
	life   int

	mu    sync.Mutex // held while something passes the door
	dead  bool
	crash point // where the next crash is
	after int   // how often the point is passed until then

	pipeline *app.Pipeline
	source   *source
	ctx      context.Context
	stop     context.CancelFunc
	done     chan error // of 1: the end of Run
}

// Now and After implement sources.Clock.
func (*process) Now() time.Time                         { return time.Now() }
func (*process) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Write implements io.Writer; nobody writes.
func (*process) Write(b []byte) (int, error) { return len(b), nil }

// pass takes an effect through the door: all of it happens, or nothing. The
// process may crash just before, or just after, so that it never hears of it.
func (p *process) pass(before point, effect func() error, after point) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dies(before) {
		return errCrashed
	}
	if effect != nil {
		if err := effect(); err != nil {
			return err
		}
	}
	if p.dies(after) {
		return errCrashed
	}
	return nil
}

// dies tells whether the process is dead, or dies here. p.mu is held.
func (p *process) dies(at point) bool {
	if !p.dead && p.crash != never && p.crash == at {
		if p.after--; p.after <= 0 {
			p.die()
		}
	}
	return p.dead
}

func (p *process) die() {
	p.dead = true
	p.stop()
	p.w.record("member %d crashes (%s)", p.member.index, pointNames[p.crash])
}

// kill crashes the process where it stands.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead {
		p.crash = never
		p.die()
	}
}

// arm has the process crash when it passes a point for the n-th time.
func (p *process) arm(at point, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crash, p.after = at, n
}

func (p *process) disarm() { p.arm(never, 0) }

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}
