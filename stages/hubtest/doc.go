// Package hubtest runs the tests that come with a hub: a folder tests/ whose
// folders hold a config.yaml (which rules), a log, and the assertions
// parser.assert and scenario.assert, each line an expression over results.
//
// The assertions are the specification of the rule language; FIDELITY 28-33
// of the design notes in docs/compatibility.md say how results are formed.
package hubtest
