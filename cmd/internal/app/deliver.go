package app

import (
	"context"
	"errors"

	"sluice/pipeline"
	"sluice/sinks/outbox"
	"sluice/stages/decide"
)

// decide runs the profiles on an alert that a sink was given by others.
func (p *Pipeline) decide(a *pipeline.Alert) []pipeline.Decision {
	v := p.verdict(a)
	a.Sluice.Allowlisted = v.Allowed
	return v.Decisions
}

// verdict runs the profiles on an alert. The graph asks, and sinks that are
// given alerts by others.
func (p *Pipeline) verdict(a *pipeline.Alert) decide.Verdict {
	live := p.allowedLive(a)
	p.deciding.Lock()
	defer p.deciding.Unlock()
	v := p.engine.Decider.DecideUnless(a, live)
	if v.Allowed != "" {
		p.stats.allowlisted.Add(1)
		p.log.Debug("nothing is decided on what is allowed", "scenario", a.Scenario, "value", a.GetValue(), "allowed_by", v.Allowed)
	}
	for _, err := range v.Errors {
		p.log.Warn("a profile or an allow-list failed", "scenario", a.Scenario, "error", err)
	}
	return v
}

// deliver takes one batch's alerts through the profiles to the sinks.
func (p *Pipeline) deliver(ctx context.Context, out *pipeline.Outcome) error {
	err := p.direct.Deliver(ctx, append(deadItems(out.Dead), p.decideAll(out)...))
	if err != nil && !errors.Is(err, outbox.ErrLeft) {
		return err
	}
	p.stats.add(out)
	if err != nil { // what is left goes through the graph to be counted, and is never committed
		return nil
	}
	for _, t := range out.Through {
		p.commits.note(t.Partition, t.Next)
	}
	return nil
}

// decideAll runs the profiles on the alerts of an outcome: they say what is
// decided, and which sinks are told, of those whose conditions hold.
func (p *Pipeline) decideAll(out *pipeline.Outcome) []outbox.Item {
	var items []outbox.Item
	for _, ra := range out.Alerts {
		p.stats.overflows.Add(1)
		if ra.Whitelisted {
			p.stats.whitelisted.Add(1)
			continue
		}
		for i := range ra.APIAlerts {
			a := ra.APIAlerts[i]
			v := p.verdict(&a)
			if v.Decisions != nil {
				a.Decisions = v.Decisions
			}
			a.Sluice.Allowlisted = v.Allowed
			p.stats.decisions.Add(uint64(len(a.Decisions)))
			items = append(items, outbox.Item{Alert: &a, To: p.address(&a, v.Notify)})
		}
	}
	p.stats.alerts.Add(uint64(len(items)))
	return items
}

func (c *counters) add(out *pipeline.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.BatchStats.Add(&out.Stats)
	for i := range out.Dead {
		if c.dead == nil {
			c.dead = make(map[string]uint64)
		}
		c.dead[string(out.Dead[i].Kind)+": "+out.Dead[i].Reason]++
	}
	if out.Clock.After(c.clock) {
		c.clock = out.Clock
	}
}
