//go:build !linux

package detect

import "time"

var started = time.Now()

// threadTime is the time that passed, where a thread's own cannot be asked.
func threadTime() time.Duration { return time.Since(started) }
