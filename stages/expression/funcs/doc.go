// Package funcs holds the helper functions that rules may call in
// expressions, under the names that CrowdSec documents, and the data files
// that some of them read.
//
// A helper is one entry of Table: its name, its signatures, its function, and
// whether it is pure. Helpers that need the running event's surroundings
// (stashes, decisions) are added by package expression.
package funcs
