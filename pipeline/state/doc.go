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
// # Where to begin
//
// Open, Load once, Commit for every barrier: store.go, load.go, commit.go.
// Outbox and cursors are in outbox.go. Space says when to stop reading
// sources, since a full disk ends the process. View, Inspect, Export, Import
// and Reset are for people.
//
// # What is on the disk
//
// Everything is in entries of Badger, by the first byte of their keys
// (keys.go), each with a checksum over key and content:
//
//	c epoch index   a chunk: changes of some slots, compressed (chunk.go)
//	e epoch         the marker: the epoch's chunks and the totals with it (marker.go)
//	f               up to which epoch records are folded, and the totals then
//	r slot first    a page of folded records (page.go)
//	o seq           an entry of the outbox; t, x and a are its marks (outbox.go)
//	q blob index    a piece of a value that is too large for one entry (badger.go)
//
// Commit deals the changes to chunks by the hash of their keys, syncs them,
// and then writes and syncs the marker. A fold (fold.go) brings the chunks of
// many epochs into pages, slot by slot, the newest change of a record only. A
// load merges pages with the chunks that are not folded, the same way. Beside
// the database, the file SLUICE says which version wrote it and which epoch
// was durable for certain (format.go). Formats only grow: what version 1 wrote is
// in testdata, and is read for ever.
//
// # Damage
//
// Open checks all files before Badger sees them (check.go, files.go), cuts
// logs behind their last whole write as Badger would, and looks for the last
// whole epoch (recover.go). Epochs behind a damaged one are dropped, aloud, if the
// records then come to the sums of that epoch; otherwise, and
// wherever else something is missing, it is a *DamagedError.
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
