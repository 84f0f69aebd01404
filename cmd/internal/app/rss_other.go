//go:build !linux

package app

import "runtime"

// peakRSS returns what the runtime took from the system, in bytes: the
// nearest figure that is had everywhere.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
