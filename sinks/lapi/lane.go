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
	since   time.Time // when one before it was tried last, from the attempt's end
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
		if i < l.current {
			l.since = l.env.Now() // from the end of the attempt, which may have taken its whole timeout
		}
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
	if left := t.rest.Left(l.env.Now()); left > 0 && len(l.targets) > 1 {
		return fmt.Errorf("%s asked to be left alone for %v more", t.name, left.Round(time.Second))
	}
	if err := t.rest.Wait(ctx, l.env.Now, l.env.After); err != nil {
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

// forget lets go of what the caller knows by now: of alerts that are settled,
// and of all when none of those that were given comes again.
func (l *lane) forget(known []pipeline.Alert, all bool) {
	if all {
		clear(l.done)
	}
	for i := range known {
		delete(l.done, known[i].UUID)
	}
	for _, t := range l.targets {
		if all {
			clear(t.unsure)
		}
		for i := range known {
			delete(t.unsure, known[i].UUID)
		}
	}
}
