// Package state keeps what the engine knows across a crash: buckets, clocks,
// positions, stashes and alerts on their way, in one Badger database.
//
// # Epochs
//
// The graph's state at one barrier is an epoch. Each part of the graph writes
// what changed since the barrier before into a Writer of its own; the store
// makes the Writers of one barrier durable together or not at all. What a
// record means is its owner's business: to this package it is a key, whose
// first byte says the Kind, and a value.
//
// # Sums
//
// Every record has a Sum, and the sums of all records, added up, are stored
// with each epoch. So a store that lost a part of its files is noticed when
// it is loaded, whatever the files themselves say: the count is never wrong.
// The owner of a record keeps its Sum beside it, and gives it back when the
// record changes, so that nothing is read to keep the total.
//
// # Dictionary
//
// Partitions, event fields and scenarios' definitions are referred to by
// numbers that a Dictionary gives. A number is never given twice.
package state
