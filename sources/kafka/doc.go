// Package kafka is the source of Kafka topics, with partitions assigned
// statically: all of them, a list, or this process's share.
//
// discover.go finds the partitions, again and again. Each gets a fetcher
// (fetch.go): a goroutine with a connection of its own to the partition's
// leader, so a slow partition holds up no other. It sends the next request,
// then makes records of the answer (answer.go, decode.go and package
// recordbatch) and emits them, in order. Records lie in the answer's own bytes,
// or in an arena that batches are decompressed into: memory.go counts who reads
// a block and recycles it when nobody does.
//
// A source with a group resumes from the offsets committed under it, and
// Commit, which the runtime calls when everything before an offset is through
// the pipeline, commits there without being a member (generation -1).
//
// # Non-obvious
//
// The library's own fetch says neither where a batch ends nor which
// transactions were aborted, so answers are decoded here (decision 10). The
// next offset is always that behind the last batch, never behind the last
// record: a batch may hold no record that is left or that counts.
//
// After any error the connection is given up and the leader looked up by
// metadata that is newer than the error (cluster.go). Staying on an old
// connection or on cached metadata is how readers come to hang after a leader
// has changed; a leader that answers and sends nothing is given up as well.
//
// An answer may be under way while records are emitted, so nothing else can be
// asked over the connection then: offsets are looked up before the first
// request and after an answer without records only.
package kafka
