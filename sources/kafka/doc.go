// Package kafka is the source of Kafka topics, with partitions assigned
// statically: all of them, a list, or this process's share.
//
// One goroutine a partition fetches, copies the records out of the response
// into pooled memory and emits them, so a partition's records come in order
// and a slow partition holds up no other. A source with a group resumes from
// the offsets committed under it, and Commit, which the runtime calls when
// everything before an offset is through the pipeline, commits there without
// being a member (generation -1).
//
// # Non-obvious
//
// A fetch can bring batches without a single record at or past the offset
// asked for: a transaction's markers, or what compaction left of a batch.
// The client library does not say where such a batch ends, so the loop steps
// over it offset by offset; asking again for the same offset would hang.
package kafka
