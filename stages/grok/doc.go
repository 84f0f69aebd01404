// Package grok holds named patterns and matches lines with expressions such as
//
//	%{IPORHOST:client} - %{USER:user} \[%{HTTPDATE:date}\]
//
// A Library maps names to patterns. Reference is the plain matcher: the
// standard regexp over the expanded text. Pattern is the fast one and gives
// the same captures on every line; tests hold them together.
//
// The rules of capture are CrowdSec's (FIDELITY 4): the search is unanchored
// and leftmost-first; only %{NAME:capture} captures; of two captures of one
// name the last in the text wins, as empty when it took no part; a name hides
// the same name inside the patterns that its expression uses; an expression
// without any capture never succeeds.
package grok
