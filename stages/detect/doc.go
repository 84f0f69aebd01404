// Package detect holds the buckets: it applies pours and tells which buckets
// overflow.
//
// A Detector is the compiled scenarios; a Shard owns the buckets of the keys
// that are routed to it, and one goroutine uses it. A bucket is a small value
// in the shard's map: no goroutine, channel or mutex of its own. What it does
// depends on the pours into it alone, in their order: on their events' times,
// never on a clock, on other keys or on where batches are cut. Clocks free
// memory and fire counters.
//
// The rules of buckets are CrowdSec's, FIDELITY 14-27.
package detect
