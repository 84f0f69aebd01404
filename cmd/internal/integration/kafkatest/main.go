package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Main runs the tests of a package with Kafka installed, and returns the exit
// code: it is what a TestMain calls. Where the machine lacks a part, it says so
// on out and runs none of them, which is no failure.
func Main(out io.Writer, run func(*Kafka) int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	k, err := Install(ctx)
	var missing *MissingError
	switch {
	case errors.As(err, &missing):
		fmt.Fprintf(out, "integration: skipped 1 part: %v\n", missing)
		return 0
	case err != nil:
		fmt.Fprintf(out, "integration: %v\n", err)
		return 1
	}
	return run(k)
}
