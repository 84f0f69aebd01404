// Package grok holds named patterns and matches lines with expressions such as
//
//	%{IPORHOST:client} - %{USER:user} \[%{HTTPDATE:date}\]
//
// # Rules
//
// The rules of capture are CrowdSec's (FIDELITY 4): the search is unanchored
// and leftmost-first; only %{NAME:capture} captures; of two captures of one
// name the last in the text wins, as empty when it took no part; a name hides
// the same name inside the patterns that its expression uses; an expression
// without any capture never succeeds. The text between references is the
// standard regexp's syntax. A type, as in %{INT:port:int}, means nothing.
//
// # Three matchers
//
//   - Reference is what an expression means: the standard regexp on the
//     expanded text. Tests hold the others to it.
//   - Pattern is the fast one, a backtracking program. It gives the same
//     captures on every line, byte for byte.
//   - plain is vjeantet/grok, given a library that holds it to the rules above.
//     A Pattern falls back on it where a backtracking search would take too
//     long, and for the few expressions it does not compile.
//
// # Path of an expression
//
//	library.go    names and where they were read; base.go is the base library
//	expand.go     references become groups: the text of a regular expression
//	tree.go       the standard parser's tree becomes ours; alternatives are factored
//	compile.go    the tree becomes a program, from its end to its start
//	match.go      the program runs over a line
//	runs.go       how far runs of characters reach
//	class.go      sets of characters, UTF-8, what a match can begin with
//	pattern.go    Compile and Match, which tie these together
//	plain.go      the fallback
//
// # Non-obvious
//
//   - A byte that is not part of a valid UTF-8 sequence is one character,
//     U+FFFD. A run is scanned by bytes, so whatever gives back part of a run
//     asks isBoundary where a character begins.
//   - An instruction knows what a match from it on can begin with (inst.first).
//     A way that is not taken because of it would have failed: order of
//     preference, and with it every capture, stays the standard regexp's.
//   - A run is never given back (opTake) when what follows cannot begin inside
//     of it. That also makes a lazy run a greedy one.
//   - Loops around something that can be empty have rules of their own in the
//     standard regexp: such expressions are left to the plain matcher.
//   - After triedAfter decisions taken back, the search remembers where it has
//     been, across starts too: what failed at a position fails there again.
package grok
