package app

import (
	"log/slog"
	"sync"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/sinks"
	"sluice/stages/decide"
	"sluice/stages/engine"
)

// condition compiles an expression for sinks: any goroutine may ask it, and
// after a reload it is compiled anew, since its helpers ask what the engine holds.
func (p *Pipeline) condition(src string) (func(*pipeline.Alert) (bool, error), error) {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	of := p.engine
	c, err := of.Condition(src)
	if err != nil {
		return nil, err
	}
	return func(a *pipeline.Alert) (bool, error) {
		p.deciding.Lock()
		defer p.deciding.Unlock()
		if of != p.engine {
			of = p.engine
			if c, err = of.Condition(src); err != nil {
				c = nil
			}
		}
		if c == nil {
			return false, err
		}
		return c.Holds(a)
	}, nil
}

// useAllowlists makes the configuration's lists known to sinks, with
// conditions that any goroutine may ask.
func (p *Pipeline) useAllowlists(lists []decide.Allowlist) error {
	set, err := decide.CompileAllowlists(lists, p.condition)
	if err == nil {
		p.allowed.Store(set)
	}
	return err
}

// allowedLive tells which item of a list that a sink keeps excepts an alert; "" for none.
// The lock of p.deciding is not held: the sink may ask a condition.
func (p *Pipeline) allowedLive(a *pipeline.Alert) string {
	for _, s := range p.sinks {
		if keeper, ok := s.(sinks.Allower); ok {
			if m, ok := keeper.Allows(a); ok {
				return m.String()
			}
		}
	}
	return ""
}

// allowlistsChanged has sinks withdraw what the new lists except.
func (p *Pipeline) allowlistsChanged() {
	for _, s := range p.sinks {
		if keeper, ok := s.(sinks.Allower); ok {
			keeper.AllowlistsChanged()
		}
	}
}

// lendAllowlists gives a sink that no pipeline runs what its lists need. Rules
// are compiled only when an expression asks for them.
func (c *Config) lendAllowlists(env *sinks.Env, log *slog.Logger) error {
	rules := sync.OnceValues(func() (*engine.Engine, error) {
		eng, _, err := c.Compile(log, false)
		return eng, err
	})
	var mu sync.Mutex // one goroutine at a time
	env.Condition = func(src string) (func(*pipeline.Alert) (bool, error), error) {
		mu.Lock()
		defer mu.Unlock()
		eng, err := rules()
		if err != nil {
			return nil, err
		}
		holds, err := eng.Condition(src)
		if err != nil {
			return nil, err
		}
		return func(a *pipeline.Alert) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return holds.Holds(a)
		}, nil
	}
	later := func(src string) (func(*pipeline.Alert) (bool, error), error) {
		compiled := sync.OnceValues(func() (func(*pipeline.Alert) (bool, error), error) { return env.Condition(src) })
		return func(a *pipeline.Alert) (bool, error) {
			holds, err := compiled()
			if err != nil {
				return false, err
			}
			return holds(a)
		}, nil
	}
	set, err := decide.CompileAllowlists(c.Allowlists, later)
	env.Allowlists = func() *allowlist.Set { return set }
	return err
}
