package outbox

import (
	"context"

	"sluice/pipeline"
)

// Direct delivers without a log: whoever delivers waits until all places have
// taken what is for them. One goroutine uses it.
type Direct struct {
	opts    Options
	dead    deadWriter
	retries []retry // by sink; the last is that of the dead letters
}

// NewDirect makes a Direct; Log, quotas and policies are of no use to it.
func NewDirect(o Options) (*Direct, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	d := &Direct{opts: o, dead: newDeadWriter(o.DeadLetters)}
	for _, t := range o.Sinks {
		d.retries = append(d.retries, d.newRetry(t.Sink.Name()))
	}
	d.retries = append(d.retries, d.newRetry(DeadLettersName))
	return d, nil
}

func (d *Direct) newRetry(name string) retry {
	return retry{name: name, waits: "reading waits for it", log: d.opts.Logger, clock: d.opts.Clock, jitter: d.opts.Jitter}
}

// Deliver gives items to the places that they are addressed to, each in order
// and again until it takes them. An error means that ctx ended first.
func (d *Direct) Deliver(ctx context.Context, items []Item) error {
	var letters []pipeline.DeadLetter
	for _, it := range items {
		if it.Dead != nil && d.opts.DeadLetters != nil {
			letters = append(letters, *it.Dead)
		}
	}
	if err := d.bury(ctx, letters); err != nil {
		return err
	}
	for i, t := range d.opts.Sinks {
		own := addressedTo(t.Sink.Name(), items)
		if len(own) == 0 {
			continue
		}
		r := &d.retries[i]
		var refused []pipeline.DeadLetter
		err := d.until(ctx, r, func() error {
			taken, letters, err := alertPlace{t.Sink}.give(ctx, own)
			own, refused = own[taken:], append(refused, letters...)
			return err
		})
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			continue
		}
		r.refused(refused)
		if d.opts.DeadLetters == nil {
			continue
		}
		if err := d.bury(ctx, refused); err != nil {
			return err
		}
	}
	return nil
}

// bury writes dead letters until their place takes them.
func (d *Direct) bury(ctx context.Context, letters []pipeline.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	return d.until(ctx, &d.retries[len(d.retries)-1], func() error {
		_, err := d.dead.write(ctx, letters, d.opts.Logger)
		return err
	})
}

// until calls attempt until it succeeds or ctx ends.
func (d *Direct) until(ctx context.Context, r *retry, attempt func() error) error {
	for {
		err := attempt()
		if err == nil {
			r.succeeded()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.failed(err)
		select {
		case <-r.after():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// addressedTo returns the alerts for a sink.
func addressedTo(sink string, items []Item) []Item {
	var out []Item
	for i := range items {
		if items[i].Alert != nil && items[i].For(sink) {
			out = append(out, items[i])
		}
	}
	return out
}
