// Package sinks is the contract of a sink and the registry of the kinds of
// sink.
//
// A sink takes batches of finished alerts, their decisions inside, and brings
// them somewhere. It gets an alert at least once: after a crash, or after an
// error, the same alert comes again under the same UUID, so what a sink writes
// carries it. Each kind is a folder that registers itself, so a program has
// the kinds that it imports:
//
//	import _ "sluice/sinks/file"
//
// To add one: a folder with a config struct, a type that implements Sink, and
// an init that calls Register and does nothing else.
package sinks
