// Package kafka is the source of Kafka topics, with partitions assigned
// statically (Source: all of them, a list, or this process's share) or by
// their consumer group (Group).
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
// A Group is a member (decision 6). group.go is its life, a row of tenures;
// member.go joins, leads and beats; balancer.go decides on the leader who reads
// what, by what members announce (userdata.go); groupcommit.go commits, and
// writes tenures into the commits' metadata (standing.go). coordinator.go is a
// connection to the group's broker, and subscription.go what members say through it.
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
//
// The library takes the fields of Heartbeat's and LeaveGroup's answers in the
// wrong order from version 1 on, so that a member would never hear of a
// rebalance: both are sent in version 0.
//
// A member that finds out that topics have grown joins again, but that alone
// makes the group agree anew only if it is the leader, or if it announces
// something else than before; the leader looks after the topics of all.
package kafka
