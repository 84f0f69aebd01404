package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/component"
)

// Sink delivers alerts to one configured place.
type Sink interface {
	// Name is the sink's name in the configuration.
	Name() string

	// Alerts delivers a batch, in order. nil means that all of it is delivered
	// as durably as the sink's configuration asks. A *RejectedError names the
	// alerts that the place will never take; all others of the batch are
	// delivered. A *PartialError says how far the batch got: the rest is given
	// again. After any other error the caller waits and gives the same
	// batch again, or only its first alerts, to probe the place or to find the
	// one that it fails on: part of it may have been delivered, so the UUIDs in it
	// must let the receiver drop repeats. The sink keeps nothing of the batch
	// after it returns. It is called from one goroutine at a time.
	Alerts(ctx context.Context, alerts []pipeline.Alert) error

	// Stats returns a snapshot. It may be called at any time, from any goroutine.
	Stats() Stats

	// Close flushes and frees what the sink holds, after the last Alerts.
	Close() error
}

// Reopener is a Sink that holds a file which others may rename: Reopen closes
// it and opens its path again, as SIGHUP asks. It may be called from any goroutine.
type Reopener interface {
	Reopen() error
}

// FileWriter is a Sink, or a place for dead letters, that appends to a file
// which nothing else may write, and no source of the pipeline may read.
type FileWriter interface {
	// File is what the key `path` names; "" when it is no file, such as standard output.
	File() string
}

// Allower is a Sink that keeps allow-lists, which people change while it runs.
// The pipeline asks before it decides, so that no sink sees a decision on what
// is allowed. Both may be called from any goroutine, before Run as well.
type Allower interface {
	// Allows tells whether an alert is excepted, and by what.
	Allows(*pipeline.Alert) (allowlist.Match, bool)
	// AllowlistsChanged is called when Env.Allowlists returns another set: what
	// was decided on what it excepts is withdrawn.
	AllowlistsChanged()
}

// Runner is a Sink with something to do besides: Run does it until ctx is
// done, from before the first Alerts to after the last. An error ends the pipeline.
type Runner interface {
	Run(ctx context.Context) error
}

// Batcher is a Sink that wants larger batches than what happens to wait, such
// as one whose place charges by the request. Only an outbox with a log gathers
// them: without durable state a sink gets what there is.
type Batcher interface {
	// Batch returns how many alerts a batch should have, from 1, and how long
	// the first may wait for the others. It is asked before each batch, which
	// begins behind what was taken last. A batch is smaller when that time is
	// over, when the pipeline stops, and when it is all that the outbox holds
	// at once. A sink that answers, after a crash, with the number of alerts
	// that it had been given gets the same alerts again. Its batches are tried
	// again, and given up, as a whole.
	Batch() (alerts int, wait time.Duration)
}

// Stats is what a sink has done so far.
type Stats struct {
	Alerts, Decisions, Bytes uint64
	Errors                   uint64 // calls of Alerts that failed
	Rejected                 uint64 // alerts that the place refused for good
	Expired                  uint64 // decisions that ran out before they could be delivered, and were left out
}

// RejectedError says that some alerts of a batch will never be delivered, so
// that trying again is in vain: they are for the dead letters.
type RejectedError struct {
	// Alerts are their indexes in the batch, ascending.
	Alerts []int
	// Reason is why.
	Reason error
}

// With adds an alert of the batch, behind those that are there, and keeps the
// first reason. It may be called on nil.
func (e *RejectedError) With(alert int, reason error) *RejectedError {
	if e == nil {
		e = &RejectedError{Reason: reason}
	}
	e.Alerts = append(e.Alerts, alert)
	return e
}

// Error counts the alerts and gives the reason.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("%d alerts refused for good: %v", len(e.Alerts), e.Reason)
}

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Reason }

// PartialError says that the first alerts of a batch are settled, delivered
// or rejected, and that the rest is to be given again: so that what was
// acknowledged is not repeated because something behind it failed.
type PartialError struct {
	// Settled is how many; Rejected, when set, names those of them that were refused for good.
	Settled  int
	Rejected *RejectedError
	// Failed is how many behind the settled ones hold all that failed
	// together, such as those of one request: 1 says that it is that one
	// alert. 0 stands for the whole rest.
	Failed int
	// Err is why the rest was not delivered.
	Err error
}

// Error gives the reason and how far the batch got.
func (e *PartialError) Error() string {
	if e.Settled == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v (the first %d of the batch are settled)", e.Err, e.Settled)
}

// Unwrap returns the reason.
func (e *PartialError) Unwrap() error { return e.Err }

// Outcome is what Alerts returns of a batch whose first alerts are settled, some
// of them perhaps rejected, and whose rest err, if it is set, has kept back.
func Outcome(settled int, rejected *RejectedError, err error) error {
	switch {
	case err != nil && settled > 0:
		return &PartialError{Settled: settled, Rejected: rejected, Err: err}
	case err != nil:
		return err
	case rejected != nil:
		return rejected
	}
	return nil
}

// Retryable tells whether the batch that gave err, or a part of it, should be given again.
func Retryable(err error) bool {
	var rejected *RejectedError
	var partial *PartialError
	return err != nil && (errors.As(err, &partial) || !errors.As(err, &rejected))
}

// Env is what the program lends to a sink. The zero value works.
type Env struct {
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
	// Stdout is where sinks that write to "-" write; os.Stdout when nil.
	Stdout io.Writer
	// Dir is a folder that lives as long as the state does. A sink that keeps
	// something makes one of its own name in it. It is empty where no state is kept (state.dir).
	Dir string
	// Now and After are the wall clock when nil.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	// Decide runs the pipeline's profiles on an alert that a sink was given by
	// others, and returns the decisions; nil where there are none.
	Decide func(*pipeline.Alert) []pipeline.Decision
	// Condition compiles an expression over Alert, with the helpers that profiles
	// have; what it returns may be called from any goroutine. nil where there are no rules.
	Condition func(expression string) (func(*pipeline.Alert) (bool, error), error)
	// Allowlists returns the allow-lists of the pipeline's configuration, which
	// a reload changes; nil where there are none.
	Allowlists func() *allowlist.Set
}

// Complete returns the environment with its defaults filled in.
func (e Env) Complete() Env {
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Stdout == nil {
		e.Stdout = os.Stdout
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.After == nil {
		e.After = time.After
	}
	return e
}

// Kind declares a kind of sink with its configuration C; see component.Kind.
type Kind[C any] = component.Kind[C, Env, Sink]

// registry is filled by blank imports before main runs and only read after that.
var registry = component.Registry[Env, Sink]{Noun: "sink"}

// Register makes a kind known. Call it from an init that does nothing else.
func Register[C any](k Kind[C]) { component.Register(&registry, k) }

// New makes the sink that a configuration mapping describes: its type, its
// name (the type when absent) and the keys of its kind. Errors are
// *component.ConfigError where the mapping is at fault.
func New(node ast.Node, env Env) (Sink, error) { return registry.New(node, env.Complete()) }

// Kinds describes the kinds known, sorted by type.
func Kinds() []component.Info { return registry.Kinds() }
