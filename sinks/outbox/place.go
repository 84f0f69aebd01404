package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"sluice/pipeline"
	"sluice/sinks"
)

// place is where a lane delivers: a sink, or the dead letters.
type place interface {
	// takes tells whether an entry is for the place, which has a name.
	takes(to *address, name string) bool
	// give hands over a batch. taken is how many of its first items are
	// settled: all, where there is no error. What of them was refused for good comes back as
	// letters. After an error the rest is given again; failed of them were given to the place together.
	give(ctx context.Context, items []Item) (taken int, refused []pipeline.DeadLetter, failed int, err error)
	// forwards tells whether refused letters go to the dead letters.
	forwards() bool
}

// alertPlace is a sink.
type alertPlace struct{ sinks.Sink }

func (p alertPlace) takes(to *address, name string) bool { return !to.dead && to.to(name) }
func (p alertPlace) forwards() bool                      { return true }

func (p alertPlace) give(ctx context.Context, items []Item) (taken int, refused []pipeline.DeadLetter, failed int, err error) {
	alerts := make([]pipeline.Alert, len(items))
	for i, it := range items {
		alerts[i] = *it.Alert
	}
	taken, err = len(items), p.Alerts(ctx, alerts)
	var partial *sinks.PartialError
	var rejected *sinks.RejectedError
	switch {
	case err == nil:
		return taken, nil, 0, nil
	case errors.As(err, &partial):
		taken, rejected = min(partial.Settled, len(items)), partial.Rejected
		if failed = len(items) - taken; partial.Failed > 0 {
			failed = min(failed, partial.Failed)
		}
	case !errors.As(err, &rejected):
		return 0, nil, len(items), err
	default:
		err = nil
	}
	if rejected != nil {
		for _, i := range rejected.Alerts {
			refused = append(refused, alertLetter(pipeline.DeadRejected, rejected.Reason.Error(), p.Name(), &alerts[i]))
		}
	}
	return taken, refused, failed, err
}

// alertLetter makes a dead letter of an alert.
func alertLetter(kind pipeline.DeadKind, reason, sink string, a *pipeline.Alert) pipeline.DeadLetter {
	text, err := alertJSON(a)
	if err != nil { // then its names are all that can be kept
		text = []byte(fmt.Sprintf("{%q:%q,%q:%q}", "uuid", a.UUID, "scenario", a.Scenario))
	}
	return pipeline.DeadLetter{
		Kind: kind, Reason: reason, Sink: sink, Position: a.Sluice.Cause, Value: text, Size: len(text), Key: []byte(a.UUID),
	}
}

// deadPlace is the dead letters, as a lane of their own.
type deadPlace struct{ w *deadWriter }

func (p deadPlace) takes(to *address, _ string) bool { return to.dead }
func (p deadPlace) forwards() bool                   { return false }

func (p deadPlace) give(ctx context.Context, items []Item) (int, []pipeline.DeadLetter, int, error) {
	letters := make([]pipeline.DeadLetter, len(items))
	for i, it := range items {
		letters[i] = *it.Dead
	}
	refused, err := p.w.give(ctx, letters)
	if err != nil {
		return 0, nil, len(items), err
	}
	return len(items), refused, 0, nil
}

// deadWriter lets several goroutines write dead letters, one at a time.
type deadWriter struct {
	to   sinks.DeadLetters // nil when there is no place for them
	turn chan struct{}     // of one
}

func newDeadWriter(to sinks.DeadLetters) deadWriter {
	return deadWriter{to: to, turn: make(chan struct{}, 1)}
}

// give writes letters and returns those that the place refused for good.
func (w *deadWriter) give(ctx context.Context, letters []pipeline.DeadLetter) (refused []pipeline.DeadLetter, err error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err = w.to.Write(ctx, letters)
	<-w.turn
	if err == nil {
		return nil, nil
	}
	if sinks.Retryable(err) {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	var rejected *sinks.RejectedError
	errors.As(err, &rejected)
	for _, i := range rejected.Alerts {
		letter := letters[i]
		letter.Reason = rejected.Reason.Error()
		refused = append(refused, letter)
	}
	return refused, nil
}

// write writes letters for others and returns how many were taken. Those that
// are refused in turn are gone: the log says so.
func (w *deadWriter) write(ctx context.Context, letters []pipeline.DeadLetter, log *slog.Logger) (written int, err error) {
	refused, err := w.give(ctx, letters)
	if err != nil {
		return 0, err
	}
	if len(refused) > 0 {
		log.Error("the place for dead letters refused some for good", "letters", len(refused), "error", refused[0].Reason)
	}
	return len(letters) - len(refused), nil
}
