package rules

import (
	"github.com/goccy/go-yaml/ast"
)

// collectionKeys are CrowdSec's. The kinds of the request firewall
// (appsec) are read over: Sluice does not run them.
var collectionKeys = []string{"name", "description", "author", "labels", "tags", "references", "version", "usage",
	"parsers", "postoverflows", "scenarios", "contexts", "collections", "appsec-configs", "appsec-rules"}

// member is an item that a collection names.
type member struct {
	kind Kind
	name Text
}

// collection reads the list of a collection's members.
func (d *decoder) collection(body ast.Node) []member {
	var out []member
	d.fields(body, "a collection", collectionKeys, func(key string, v ast.Node) {
		switch key {
		case "name":
			d.rule = d.str(v, key)
		case "description", "author", "version", "usage":
			d.str(v, key)
		case "labels":
			d.pairs(v, key)
		case "tags", "references", "appsec-configs", "appsec-rules":
			d.strs(v, key)
		default:
			for _, t := range d.texts(v, key) {
				out = append(out, member{Kind(key), t})
			}
		}
	})
	return out
}

// context reads a contexts file: keys and the expressions that fill them.
func (d *decoder) context(body ast.Node) []ContextEntry {
	var out []ContextEntry
	known := []string{"context", "name", "description", "author", "references", "version"}
	found := false
	d.fields(body, "a context file", known, func(key string, v ast.Node) {
		switch key {
		case "name":
			d.rule = d.str(v, key)
		case "context":
			found = true
			for _, mv := range d.pairs(v, key) {
				out = append(out, ContextEntry{Key: keyText(mv), Expressions: d.texts(mv.Value, keyText(mv))})
			}
		}
	})
	if !found && !d.spent {
		d.fail(d.pos(body), "the file has no key context")
	}
	return out
}

// mergeContexts joins the entries of several files by key, each expression
// once, in order of appearance.
func mergeContexts(all []ContextEntry) []ContextEntry {
	var out []ContextEntry
	index := map[string]int{}
	for _, e := range all {
		i, ok := index[e.Key]
		if !ok {
			i = len(out)
			index[e.Key] = i
			out = append(out, ContextEntry{Key: e.Key})
		}
	next:
		for _, x := range e.Expressions {
			for _, had := range out[i].Expressions {
				if had.Value == x.Value {
					continue next
				}
			}
			out[i].Expressions = append(out[i].Expressions, x)
		}
	}
	return out
}
