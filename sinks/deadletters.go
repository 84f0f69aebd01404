package sinks

import (
	"context"

	"sluice/pipeline"
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
