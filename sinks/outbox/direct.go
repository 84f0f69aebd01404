package outbox

import (
	"context"
	"errors"
	"time"

	"sluice/pipeline"
)

// ErrLeft is Deliver's error when the time that Drain gave is over and places
// have not taken all: no position may pass what is left.
var ErrLeft = errors.New("places have not taken all in the time that the end has")

// Left counts what no place has taken when the time that Drain gave was over.
type Left struct {
	// Alerts are counted once a sink.
	Alerts, DeadLetters int
	// Place is what was waited for then: a sink, or DeadLettersName.
	Place string
}

// Direct delivers without a log: whoever delivers waits until all places have
// taken what is for them. One goroutine uses it, beside Drain.
type Direct struct {
	opts  Options
	dead  deadWriter
	sinks []directSink
	bury  pace // that of the dead letters
	left  Left

	draining chan struct{}   // closed by Drain
	drain    <-chan struct{} // draining, until it has cut a wait short
	giving   context.Context // ends when the time that Drain gives is over
	over     context.CancelFunc
}

// directSink is a sink with how it is doing.
type directSink struct {
	place alertPlace
	batch int
	pace  pace
	blame blame
}

// NewDirect makes a Direct; Log, quotas, policies and waits for batches are of no use to it.
func NewDirect(o Options) (*Direct, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	const waits = "reading waits for it"
	d := &Direct{
		opts: o, dead: newDeadWriter(o.DeadLetters), bury: newPace(DeadLettersName, waits, DefaultRetry(), &o),
		draining: make(chan struct{}),
	}
	d.drain = d.draining
	d.giving, d.over = context.WithCancel(context.Background())
	for _, t := range o.Sinks {
		d.sinks = append(d.sinks, directSink{
			place: alertPlace{t.Sink}, batch: t.Batching.Alerts, pace: newPace(t.Sink.Name(), waits, t.Retry, &o), blame: blame{retry: t.Retry},
		})
	}
	return d, nil
}

// Drain says that the run ends: a place that failed is tried again at once,
// and when bound is over nothing is given to any place any more, so that
// Deliver returns. Drain returns then, or when ctx is done. It is called once.
func (d *Direct) Drain(ctx context.Context, bound time.Duration) {
	close(d.draining)
	select {
	case <-d.opts.Clock.After(bound):
		d.over()
	case <-ctx.Done():
	}
}

// Left returns what was left; it comes after the last Deliver.
func (d *Direct) Left() Left { return d.left }

// delivery is what Deliver has yet to hand over.
type delivery struct {
	letters []pipeline.DeadLetter
	alerts  [][]Item // by sink
	at      string   // the place whose turn it is
}

// Deliver gives items to the places that they are addressed to, each in order
// and again until it takes them or they are given up. An error means that ctx
// ended first, or is ErrLeft: then the items are counted in Left, and so is
// what comes later.
func (d *Direct) Deliver(ctx context.Context, items []Item) error {
	giving, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.giving, cancel)()
	if d.giving.Err() != nil {
		cancel() // before anything is given: AfterFunc runs it in its own time
	}
	todo := delivery{alerts: make([][]Item, len(d.sinks))}
	for _, it := range items {
		if it.Dead != nil {
			d.forward(&todo, []pipeline.DeadLetter{*it.Dead})
		}
	}
	for i := range d.sinks {
		todo.alerts[i] = addressedTo(d.sinks[i].place.Name(), items)
	}
	switch err := d.deliver(giving, &todo); {
	case err != nil && d.giving.Err() == nil:
		return err
	case err != nil:
		d.leave(&todo)
	}
	if d.left != (Left{}) {
		return ErrLeft
	}
	return nil
}

// leave counts what was not handed over.
func (d *Direct) leave(todo *delivery) {
	if d.left == (Left{}) {
		d.left.Place = todo.at
	}
	d.left.DeadLetters += len(todo.letters)
	for _, items := range todo.alerts {
		d.left.Alerts += len(items)
	}
}

// deliver takes from todo what is handed over.
func (d *Direct) deliver(ctx context.Context, todo *delivery) error {
	if err := d.write(ctx, todo); err != nil {
		return err
	}
	for i := range d.sinks {
		if err := d.deliverTo(ctx, i, todo); err != nil {
			return err
		}
		if err := d.write(ctx, todo); err != nil {
			return err
		}
	}
	return nil
}

// deliverTo gives a sink its items; those that it refused or that were given up become letters.
func (d *Direct) deliverTo(ctx context.Context, sink int, todo *delivery) error {
	s, items := &d.sinks[sink], &todo.alerts[sink]
	todo.at = s.place.Name()
	began := d.opts.Clock.Now()
	for len(*items) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n := min(s.batch, s.blame.next(len(*items)))
		if s.pace.begin() {
			n = 1
		}
		taken, refused, bad, why := s.place.give(ctx, (*items)[:n])
		if len(refused) > 0 {
			s.pace.refused(refused)
			d.forward(todo, refused)
		}
		*items = (*items)[taken:]
		if why == nil {
			s.pace.succeeded()
			s.blame.taken(taken)
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if taken > 0 {
			s.pace.progressed()
			s.blame.taken(taken)
		}
		s.pace.failed(why)
		gone := s.giveUp(*items, bad, d.opts.Clock.Now().Sub(began), why)
		d.forward(todo, gone)
		*items = (*items)[len(gone):]
		if err := d.wait(ctx, &s.pace); err != nil {
			return err
		}
	}
	s.blame.passed()
	return nil
}

// forward leaves letters to the dead letters, if there is a place for them.
func (d *Direct) forward(todo *delivery, letters []pipeline.DeadLetter) {
	if d.opts.DeadLetters != nil {
		todo.letters = append(todo.letters, letters...)
	}
}

// giveUp returns the dead letters of the first items that are not to be tried
// any more, after an attempt at bad of them failed. All are of one age.
func (s *directSink) giveUp(items []Item, bad int, age time.Duration, why error) []pipeline.DeadLetter {
	retry := &s.pace.retry
	old := retry.MaxAge > 0 && age >= retry.MaxAge
	if !retry.Bounded() || bad == 0 || !s.blame.failed(bad, old) {
		return nil
	}
	n := 1
	if old && s.blame.gone > 1 {
		n = len(items)
	}
	letters := undelivered(s.place.Name(), items[:n], why)
	s.pace.gaveUp(letters)
	return letters
}

// write writes the letters until the place for them takes them.
func (d *Direct) write(ctx context.Context, todo *delivery) error {
	for len(todo.letters) > 0 {
		todo.at = DeadLettersName
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, err := d.dead.write(ctx, todo.letters, d.opts.Logger)
		if err == nil {
			d.bury.succeeded()
			todo.letters = nil
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.bury.stalled(err)
		if err := d.wait(ctx, &d.bury); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for the time of the next attempt.
func (d *Direct) wait(ctx context.Context, p *pace) error {
	select {
	case <-p.after():
	case <-d.drain:
		d.drain = nil // once: a closed channel never blocks
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
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
