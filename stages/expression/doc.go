// Package expression compiles the expressions of rules against a schema.
//
// There are two ways through. The fast one (predicate.go) turns what it
// understands of an expression into closures over slots. The plain one runs
// expr's own VM: on the patched tree (patch.go), in which evt.Parsed.x reads a
// slot, or, with Options.Reference, on the source as it stands over a
// pipeline.View. Reference is what the others must equal; TestCompiledEqualsReference
// and FuzzCompiled hold them together.
//
// Analysis says what a program reads, writes and needs, and which conditions
// must hold for it to be true, so that package match can index filters.
package expression
