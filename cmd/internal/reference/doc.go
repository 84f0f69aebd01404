// Package reference writes the reference of sources and sinks out of the
// program itself: docs/sources.md and docs/sinks.md, and the annotated YAML
// that `sluice sources KIND` and `sluice sinks KIND` print.
//
// Nothing is written by hand. Which kinds there are, their prose, examples and
// defaults come from the registries (component.Info); keys and types from the
// configuration structs, by reflection; what a key means from the doc comment
// of its field, which is read in the Go source. A key is required when the
// kind's own example does not work without it.
//
//	Book       one sort of component: its kinds, and the keys they share
//	Builder    turns each kind into a Kind: a tree of Keys    keys.go, required.go
//	Comments   finds the doc comments of a struct's fields    comments.go, prose.go
//	Kind.YAML  the annotated YAML                             yaml.go
//	Page       the page in Markdown                           page.go
//
// The package is for tests and for go generate: the binary holds only what
// comes out of it. See TestReference of cmd/sluice.
package reference
