// Package rules loads detection rules from folders laid out like the
// CrowdSec hub and checks them, so that the later steps (parse, match,
// detect, overflow) work on plain Go values.
//
// A root folder holds any of
//
//	parsers/<stage>/<author>/<file>.yaml        how lines become events
//	postoverflows/<stage>/<author>/<file>.yaml  the same, for alerts
//	scenarios/<author>/<file>.yaml              what to detect
//	collections/<author>/<file>.yaml            lists of the others
//	contexts/<author>/<file>.yaml               what an alert tells beside
//	patterns/<file>                             grok patterns
//	data/<file>                                 files that rules read
//
// An item's name is author/file without the ending; the name: inside the
// file may differ and is what alerts show (FIDELITY 32). Several roots are
// merged: an item of a later root replaces the item of the same kind and name
// of an earlier one, so one's own root goes last.
//
// [Load] does the work: [Find] lists the items, the selection follows
// collections recursively, files are parsed in parallel and put in the order
// in which they run (FIDELITY 1). Decoding is strict: a key that the rule
// language does not have is an error, with its place and the nearest key that
// exists. Expressions and patterns are not compiled here; each is a [Text]
// that knows where it stands, and [Text.At] gives the place inside it.
//
// The files, by what they hold: types.go the values, options.go and load.go
// the entry point, index.go and resolve.go items and collections, document.go
// the bounded reading of YAML, decode*.go one function a kind of mapping,
// validate.go what must hold of a rule, data.go data files, hash.go
// the scenario's hash, errors.go and suggest.go the messages.
package rules
