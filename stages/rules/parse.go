package rules

import (
	"slices"
)

// content is what one file holds.
type content struct {
	nodes     []*Node
	scenarios []*Scenario
	contexts  []ContextEntry
	members   []member
	broken    []Errors // one for each rule that is left out
}

// parseFile reads the documents of one file as items of a kind. A broken
// document is left out; a file that is no YAML holds nothing.
func parseFile(k Kind, stage, file string, src []byte) content {
	var c content
	docs, err := parseYAML(file, src)
	if err != nil {
		c.broken = append(c.broken, Errors{toError(file, err)})
		return c
	}
	lines := newSource(file, src)
	for _, doc := range docs {
		d := newDecoder(lines, doc)
		switch k {
		case Parsers, Postoverflows:
			if n := d.node(doc.body, stage); len(d.errs) == 0 {
				c.nodes = append(c.nodes, n)
			}
		case Scenarios:
			if s := d.scenario(doc.body); len(d.errs) == 0 {
				c.scenarios = append(c.scenarios, s)
			}
		case Contexts:
			if entries := d.context(doc.body); len(d.errs) == 0 {
				c.contexts = append(c.contexts, entries...)
			}
		case Collections:
			c.members = append(c.members, d.collection(doc.body)...)
		}
		if errs := d.finish(); len(errs) > 0 {
			c.broken = append(c.broken, errs)
		}
	}
	if len(docs) == 0 {
		c.broken = append(c.broken, Errors{{Pos: Pos{File: file}, Message: "the file holds nothing"}})
	}
	return c
}

func toError(file string, err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Pos: Pos{File: file}, Message: err.Error()}
}

// errorOf joins the faults of a file.
func (c *content) errorOf() error {
	return slices.Concat(c.broken...).asError()
}

// ParseParsers reads the documents of a parser (or postoverflow) file that
// is already in memory; file is the name that errors give. Data files are not looked for.
func ParseParsers(file, stage string, src []byte) ([]*Node, error) {
	c := parseFile(Parsers, stage, file, src)
	return c.nodes, c.errorOf()
}

// ParseScenarios reads the documents of a scenario file likewise.
func ParseScenarios(file string, src []byte) ([]*Scenario, error) {
	c := parseFile(Scenarios, "", file, src)
	return c.scenarios, c.errorOf()
}

// ParseContexts reads a contexts file likewise.
func ParseContexts(file string, src []byte) ([]ContextEntry, error) {
	c := parseFile(Contexts, "", file, src)
	return mergeContexts(c.contexts), c.errorOf()
}
