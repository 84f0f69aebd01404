// Package match decides which scenarios an event pours into, and under which
// key. It is pure, so it runs in the parallel workers: all that a bucket needs
// to know of the event (key, distinct value, scope, cancel) is computed here
// and travels in a pipeline.Pour.
//
// Compile turns the scenario documents of a rule set into a Matcher. The
// Matcher holds an index, so that matching costs by what matches and not by
// what is loaded:
//
//   - gates.go: a tree over the conditions "field equals one of …" that a
//     filter cannot be true without. A line of nginx walks past the hundreds
//     of documents for Windows with one look-up.
//   - scan.go and automaton.go: of the documents behind the open gates, those
//     that need one of some literals in a text (contains, startsWith,
//     endsWith) are ruled out by one scan of the text for all of them.
//
// What is left, the candidates, run their whole filter in the order of their
// documents, so the pours of an event are in ascending order of scenario.
//
// The index may only ever rule out documents whose filter is false. The plain
// path, Runner.MatchReference, runs every document and has no index: the
// differential tests hold the two together.
//
// A worker has a Runner of its own; the Matcher is read-only and shared.
package match
