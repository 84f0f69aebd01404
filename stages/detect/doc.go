// Package detect holds the buckets: it turns events that matched a scenario
// into overflows.
//
// Compile makes an immutable Detector of the scenarios; each Shard made from
// it owns the buckets of the keys routed to it and belongs to one goroutine.
// A shard is driven by Apply alone: a batch's pours, interleaved by their
// lines with the steps of the partition's clock.
//
//	d, errs := detect.Compile(scenarios, compiler, detect.Options{BuildSignal: build})
//	d.AddReads(&keepSet) // before the first event is kept
//	shard := d.NewShard(detect.ShardOptions{})
//	overflows = shard.Apply(partition, batch.Steps, pours, overflows[:0])
//
// # Buckets are data
//
// A bucket is a value in a chunk of its shard's slab (slab.go),
// found by (group, key): a group is what shares a scenario's name and filter
// text, the key is the groupby value (FIDELITY 14). It refers to its
// configuration by the document's index and to partitions by their index in
// the shard, so that it can be written down as it stands; Export does so.
// All changes of a bucket go through create, pour, fill and remove of
// Shard, all changes of a blackhole through arm.
//
// # What decides an outcome
//
// Only the events poured into a bucket, in order, and the clock of the
// partition that fed it last: never the wall clock, where batches are cut,
// other keys or other shards.
//
//   - A bucket dies of its own next event, when that is strictly later than
//     the last poured one plus its life time (FIDELITY 15).
//   - With ShardOptions.Free it is also dead once that clock, less the
//     lateness, has passed its death. Whether its memory was already freed
//     makes no difference: pours look at the clock, and freeing follows in
//     small portions.
//   - A timed bucket (duration is set, as for every counter) overflows when
//     the clock, less the lateness, is strictly past its first event plus
//     duration, or when an event of its own is. The cause is the record that
//     did it. Nothing fires at the end of a stream: where a stream ends is
//     not a function of its lines.
//
// A blackhole belongs to the document, keyed by the bucket's key (FIDELITY
// 19). CrowdSec drops a muted key's entry also when another key's overflow is
// later than it; here no key touches another's, which differs only when time
// runs backward.
//
// # State
//
// With a Coder the shard's state can be kept in a store. At a barrier the
// graph calls Freeze, then Encode until it returns the epoch's Writer, and
// Apply goes on meanwhile (checkpoint.go). A new shard is given the records
// by Load and Loaded; the number of shards may be another, and so may the
// rules: Detector.Owner says where a record belongs, and one whose scenario is not
// defined so any more is not taken.
//
//	shard.Freeze()
//	for w = shard.Encode(256); w == nil; w = shard.Encode(256) {} // between Applies
//
// With a Cold and a MemoryLimit, buckets that were not poured into lately
// leave memory once their record is folded, and come back with their next
// event. Neither decides an outcome. A bucket that does not come back stops
// the shard: Err.
//
// # Files
//
//	detector.go  compiling the documents
//	shard.go     Apply: the order of things within a batch
//	pour.go      one event into one bucket
//	emit.go      overflows: filter, blackhole, copies, ordinals
//	queue.go     the events a bucket keeps, its distinct values
//	limiter.go   the token bucket
//	clock.go     clocks, timed overflows, freeing
//	wheel.go     when to look at which bucket again
//	slab.go      memory of buckets
//	export.go    a sorted dump for tests and tools
//	checkpoint.go  what changed, frozen and written bit by bit
//	record.go    the records' keys and values
//	restore.go   records into new shards; partitions that leave
//	cold.go      buckets that are in the store alone
//	describe.go  records with names in place of numbers
package detect
