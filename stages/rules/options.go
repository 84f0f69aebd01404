package rules

import (
	"log/slog"
)

// Options say what Load loads and from where.
type Options struct {
	// Roots are hub-shaped folders. An item of a later root replaces the
	// item of the same kind and name of an earlier one.
	Roots []string
	// Index is what Find gave for Roots, to spare many loads of the same
	// roots the listing; nil lists them.
	Index *Index

	// Collections, Parsers, Postoverflows, Scenarios and Contexts select
	// items. An entry is a name, author/file, or a path, which ends in .yaml
	// or .yml: see PathRoots. With no entry at all, everything is selected.
	Collections   []string
	Parsers       []string
	Postoverflows []string
	Scenarios     []string
	Contexts      []string
	// All selects everything, whatever the lists say.
	All bool

	// PathRoots are the folders below which path entries are looked up, the
	// first that has the file wins; empty means Roots. Hub tests use the hub
	// and then the test's own folder (FIDELITY 32).
	PathRoots []string

	// DataDirs are looked into for data files, before data/ of each root
	// (those of later roots first).
	DataDirs []string
	// TestData prefers the last element of source_url to dest_file when it
	// looks for a data file, as the hub's tests want.
	TestData bool

	// Strict makes any broken rule an error of Load. Otherwise the rule is
	// left out, its error kept in Set.Skipped and logged.
	Strict bool
	// MaxFileBytes bounds a rule file; 0 means 1 MiB.
	MaxFileBytes int64
	// Logger receives a warning for each rule left out; nil is silent.
	Logger *slog.Logger
}

// defaultMaxFileBytes is some twenty times the hub's largest rule file.
const defaultMaxFileBytes = 1 << 20

func (o *Options) maxFileBytes() int64 {
	if o.MaxFileBytes > 0 {
		return o.MaxFileBytes
	}
	return defaultMaxFileBytes
}

func (o *Options) pathRoots() []string {
	if len(o.PathRoots) > 0 {
		return o.PathRoots
	}
	return o.Roots
}

// selected lists the entries of one kind.
func (o *Options) selected(k Kind) []string {
	switch k {
	case Collections:
		return o.Collections
	case Parsers:
		return o.Parsers
	case Postoverflows:
		return o.Postoverflows
	case Scenarios:
		return o.Scenarios
	case Contexts:
		return o.Contexts
	}
	return nil
}

// everything tells whether nothing narrows the selection.
func (o *Options) everything() bool {
	if o.All {
		return true
	}
	for _, k := range kinds() {
		for _, name := range o.selected(k) {
			if name != "" {
				return false
			}
		}
	}
	return true
}
