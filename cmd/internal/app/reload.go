package app

import (
	"context"
	"errors"
	"fmt"

	"sluice/pipeline"
)

// Reload reads the configuration file's rules, simulation, profiles and allow-lists again
// and puts them in place of those that run. Sources and sinks stay as they
// are. A scenario whose definition is the same, as far as it decides what is
// detected, keeps its buckets. With an error the running rules stay in place.
func (p *Pipeline) Reload(ctx context.Context) error {
	if !p.reloading.TryLock() {
		return errors.New("reload: the pipeline is being reloaded, or is ending, already")
	}
	defer p.reloading.Unlock()
	c, err := Load(p.config.file)
	if err != nil {
		return fmt.Errorf("reload: the running rules stay in place: %w", err)
	}
	eng, skipped, err := c.compile(p.log, true, p.env.Names)
	if err != nil {
		return fmt.Errorf("reload: the running rules stay in place: %w", err)
	}
	if err := p.checkNotifications(c.Profiles); err != nil {
		return fmt.Errorf("reload: the running rules stay in place: %s: %w", c.file, err)
	}
	addressees, err := p.addressed(eng)
	if err != nil {
		return fmt.Errorf("reload: the running rules stay in place: %w", inFile(c.file, err))
	}
	use := func() {
		// No graph runs the old engine any more, or the new one yet.
		p.deciding.Lock()
		defer p.deciding.Unlock()
		p.engine, p.Skipped, p.addressees = eng, skipped, addressees
		p.config.Rules, p.config.Simulation, p.config.Profiles = c.Rules, c.Simulation, c.Profiles
		p.config.Allowlists = c.Allowlists
	}
	if err := p.change(ctx, use); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if err := p.useAllowlists(c.Allowlists); err != nil { // the new engine has compiled them already
		return fmt.Errorf("reload: %w", err)
	}
	p.allowlistsChanged()
	p.log.Info("the rules are loaded anew", "scenarios", len(eng.Set.Scenarios), "parsers", len(eng.Set.Parsers), "left_out", skipped)
	return nil
}

// change lets use run between the end of one graph and the beginning of the next.
func (p *Pipeline) change(ctx context.Context, use func()) error {
	if p.durable != nil {
		return p.durable.reload(ctx, use)
	}
	p.log.Warn("state.dir is not set: buckets begin empty after a reload")
	return p.graphs.replace(
		func() error { return nil },
		func() (*pipeline.Graph, error) {
			use()
			return p.engine.Graph(p.graphOptions(p.deliver))
		},
	)
}
