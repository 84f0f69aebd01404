package sinks

import (
	"context"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline"
	"sluice/pipeline/component"
)

// DeadLetters writes what came to nothing to one configured place.
type DeadLetters interface {
	// Write writes letters, in order, and returns once they are as durable as
	// the place makes them. A *RejectedError names those that the place will
	// never take; all others were written. After any other error the caller
	// gives the same letters again, so that the place may hold some twice.
	// Nothing of the letters is kept. One goroutine calls it at a time.
	Write(ctx context.Context, letters []pipeline.DeadLetter) error

	// Close flushes and frees what is held, after the last Write.
	Close() error
}

// DeadLettersKind declares a kind of place for dead letters with its
// configuration C; see component.Kind.
type DeadLettersKind[C any] = component.Kind[C, Env, DeadLetters]

// deadRegistry is filled by blank imports before main runs and only read after that.
var deadRegistry = component.Registry[Env, DeadLetters]{Noun: "place for dead letters"}

// RegisterDeadLetters makes a kind known. Call it from an init that does nothing else.
func RegisterDeadLetters[C any](k DeadLettersKind[C]) { component.Register(&deadRegistry, k) }

// NewDeadLetters makes the place of a kind that a mapping of its keys
// describes. Errors are *component.ConfigError where the mapping is at fault.
func NewDeadLetters(kind string, node ast.Node, env Env) (DeadLetters, error) {
	return deadRegistry.Make(kind, kind, node, env.Complete())
}

// DeadLettersKinds describes the kinds known, sorted by type.
func DeadLettersKinds() []component.Info { return deadRegistry.Kinds() }
