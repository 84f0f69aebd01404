package lapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

// lane is one place where all alerts have to arrive: the first of its targets that takes them.
type lane struct {
	targets []*target
	batch   int
	env     sinks.Env
	log     *slog.Logger

	current int       // the target that took the last
	since   time.Time // when one before it was tried last
	// done is what became of alerts that the caller may give again.
	done map[string]settled
}

// failBack is how long a target that was left is not tried again.
const failBack = time.Minute

// deliver gives alerts to the lane's targets. What it settles stands in done, whatever the error.
func (l *lane) deliver(ctx context.Context, alerts []pipeline.Alert) error {
	var errs []error
	for _, i := range l.order() {
		t := l.targets[i]
		err := l.deliverTo(ctx, t, alerts)
		if err == nil {
			l.takes(i)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// order is in which order targets are tried: the current one first, but for
// those before it now and then.
func (l *lane) order() []int {
	var out []int
	if l.current > 0 && l.env.Now().Sub(l.since) >= failBack {
		l.since = l.env.Now()
		for i := range l.targets {
			out = append(out, i)
		}
		return out
	}
	for i := range l.targets {
		out = append(out, (l.current+i)%len(l.targets))
	}
	return out
}

// takes notes which target took the last alerts.
func (l *lane) takes(i int) {
	if i != l.current {
		l.log.Warn("alerts go to another LAPI from now on", "lapi", l.targets[i].name, "before", l.targets[l.current].name)
		l.current, l.since = i, l.env.Now()
	}
}

func (l *lane) deliverTo(ctx context.Context, t *target, alerts []pipeline.Alert) error {
	if left := t.resting(); left > 0 && len(l.targets) > 1 {
		return fmt.Errorf("%s asked to be left alone for %v more", t.name, left.Round(time.Second))
	}
	if err := t.rest(ctx); err != nil {
		return err
	}
	var open []pipeline.Alert
	for i := range alerts {
		if _, ok := l.done[alerts[i].UUID]; !ok {
			open = append(open, alerts[i])
		}
	}
	for len(open) > 0 {
		n := min(l.batch, len(open))
		if err := t.push(ctx, open[:n], func(a *pipeline.Alert, s settled) { l.done[a.UUID] = s }); err != nil {
			return err
		}
		open = open[n:]
	}
	return nil
}

// forget lets go of what the caller knows by now, and of what it does not ask for any more.
func (l *lane) forget(rest []pipeline.Alert) {
	keep := make(map[string]settled)
	unsure := make(map[string]bool)
	for i := range rest {
		id := rest[i].UUID
		if s, ok := l.done[id]; ok {
			keep[id] = s
		}
		unsure[id] = true
	}
	l.done = keep
	for _, t := range l.targets {
		for id := range t.unsure {
			if !unsure[id] {
				delete(t.unsure, id)
			}
		}
	}
}
