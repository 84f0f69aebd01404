// Package pipeline is the runtime of Sluice: what a record, an event, a pour
// and an alert are, and the graph that carries them, in order, from sources
// through workers and shards to sinks.
//
// A record (Record) comes from one partition of a source, with its position.
// A worker decodes it into lines, fills one scratch Event for each line, runs
// the parsers on it and asks which scenarios it pours into. Only what is
// poured leaves the worker: a Pour, with the few fields (Kept) that the
// bucket, the alert and the scenario's expressions can read. Shards apply
// pours to buckets; an overflowing bucket becomes an Alert.
//
// The package imports none of sources, stages and sinks.
package pipeline
