// Package sources is the contract of a source and the registry of the kinds
// of source.
//
// A source yields batches of raw records, each batch from one partition, in
// the partition's order, each record with its position. It knows nothing of
// what is in a record: that is package decode's. Each kind is a folder that
// registers itself, so a program has the kinds that it imports:
//
//	import _ "sluice/sources/kafka"
//
// To add one: a folder with a config struct, a type that implements Source,
// and an init that calls Register and does nothing else. The life of a source
// is New, then Run once; Commit and Stats while Run runs and until Close;
// then Close.
package sources
