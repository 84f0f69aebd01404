// Package checkpoint measures what durable state costs: real shards, the real
// graph, checkpointer and store, fed with pours that need no parsing, so that
// what is measured is not the parsers.
//
//	go test ./benchmarks/checkpoint -bench . -benchtime 1x
package checkpoint
