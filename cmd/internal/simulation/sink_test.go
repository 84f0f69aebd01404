package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

func init() {
	sinks.Register(sinks.Kind[struct{}]{
		Type: "simulated", Summary: "A simulated sink.", Example: "{}",
		Default: func() struct{} { return struct{}{} },
		New: func(name string, _ struct{}, env sinks.Env) (sinks.Sink, error) {
			pr, err := processOf(env.Stdout)
			return &sink{name: name, pr: pr}, err
		},
	})
	sinks.RegisterDeadLetters(sinks.DeadLettersKind[struct{}]{
		Type: "simulated", Summary: "Simulated dead letters.", Example: "{}",
		Default: func() struct{} { return struct{}{} },
		New: func(_ string, _ struct{}, env sinks.Env) (sinks.DeadLetters, error) {
			pr, err := processOf(env.Stdout)
			return &deadSink{sink{name: "dead letters", pr: pr}}, err
		},
	})
}

func processOf(stdout io.Writer) (*process, error) {
	pr, ok := stdout.(*process)
	if !ok {
		return nil, errors.New("a simulated sink needs a simulated process")
	}
	return pr, nil
}

// sink takes a process's alerts, as well as the simulator lets it.
type sink struct {
	name string
	pr   *process
}

func (s *sink) Name() string            { return s.name }
func (s *sink) Stats() (st sinks.Stats) { return st }
func (s *sink) Close() error            { return nil }

// Alerts implements sinks.Sink.
func (s *sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	return s.take(ctx, len(alerts), func(i int) error { return s.pr.w.delivered(s.pr, s.name, &alerts[i]) })
}

// take has the world get the first of n things, one after another, or all of them.
func (s *sink) take(ctx context.Context, n int, deliver func(i int) error) error {
	fault := s.pr.member.faults.sink(s.name)
	if fault.slow > 0 {
		select {
		case <-time.After(fault.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch fault.kind {
	case faultRefuses:
		return errors.New("the sink is away")
	case faultPart:
		n /= 2
	}
	err := s.pr.pass(beforeDelivery, func() error {
		for i := range n {
			if err := deliver(i); err != nil {
				s.pr.w.fail("member %d, sink %s: %v", s.pr.member.index, s.name, err)
			}
		}
		return nil
	}, afterDelivery)
	if err == nil && fault.kind != faultNone {
		return errors.New("the sink's answer was lost")
	}
	return err
}

// deadSink takes dead letters.
type deadSink struct{ sink }

// Write implements sinks.DeadLetters.
func (s *deadSink) Write(ctx context.Context, letters []pipeline.DeadLetter) error {
	return s.take(ctx, len(letters), func(i int) error {
		s.pr.w.buried(s.pr.member, &letters[i])
		return nil
	})
}

// contentOf is what must be the same whenever an alert is delivered.
func contentOf(a *pipeline.Alert) string {
	text, err := json.Marshal(a)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// The ways in which a sink or the broker fails.
type faultKind int

const (
	faultNone    faultKind = iota
	faultRefuses           // nothing happens, and an error says so
	faultForgets           // it happens, and the answer is lost
	faultPart              // a part happens
	faultKinds
)

type fault struct {
	kind faultKind
	slow time.Duration
}

// faults are what is wrong in a member's world at the moment.
type faults struct {
	mu      sync.Mutex
	sinks   map[string]fault
	commits fault
	deaf    bool          // the member does not hear of the group
	heard   chan struct{} // closed when it does again
}

// hearing waits until the member hears of what the group does.
func (f *faults) hearing(ctx context.Context) error {
	for {
		f.mu.Lock()
		deaf, heard := f.deaf, f.heard
		f.mu.Unlock()
		if !deaf {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hear says whether the member hears of the group.
func (f *faults) hear(hears bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deaf = !hears
	close(f.heard)
	f.heard = make(chan struct{})
}

func (f *faults) sink(name string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinks[name]
}

func (f *faults) commit() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commits
}

func (f *faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *faults) end() {
	f.set(func() { f.sinks, f.commits = make(map[string]fault), fault{} })
}

// names answers reverse DNS: the same for an address whenever it is asked,
// though after a while that differs.
type names struct{ pr *process }

// Lookup implements enrich.Resolver.
func (n names) Lookup(ctx context.Context, addr string) ([]string, error) {
	if err := n.pr.pass(duringLookUp, nil, never); err != nil {
		return nil, err
	}
	h := fnv.New64a()
	fmt.Fprint(h, addr)
	answer := h.Sum64()
	if !n.pr.w.plan.oracle {
		fmt.Fprint(h, n.pr.life)
		select {
		case <-time.After(time.Duration(h.Sum64()%5000) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if answer%5 == 0 && n.pr.w.plan.mode != modeSpread {
		return []string{"bot.crawler.example."}, nil
	}
	return []string{fmt.Sprintf("host-%d.example.", answer%100)}, nil
}
