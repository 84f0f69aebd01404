// Package dates reads the dates of log lines.
//
// Parse takes the text of a date, the layout that a rule gave for it (a Go
// layout, or a strptime format when it holds a %) and a reference, the time
// at which the line was received. It tries the layout, then the layouts that
// CrowdSec's rules rely on, in their order, then seconds since 1970
// (FIDELITY 11). A date without a year takes it from the reference: see year.go.
//
//   - layouts.go: the list of layouts, and which of them a text could have
//   - fast.go: hand-written readers of the two commonest shapes; they must
//     equal the standard library's, which TestFastEqualsSlow and FuzzParse check
//   - strptime.go: formats such as "%Y-%m-%d %H:%M:%S"
//   - cache.go: a Parser remembers its last results, since neighbouring lines
//     share their second
package dates
