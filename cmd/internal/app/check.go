package app

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Report is what Check found.
type Report struct {
	Name                                        string
	Parsers, Postoverflows, Scenarios, Contexts int
	Sources, Sinks                              []string
	// Skipped are rules that are broken and would be left out.
	Skipped int
}

// String renders the report for a terminal.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d parsers, %d postoverflows, %d scenarios, %d contexts\n",
		r.Name, r.Parsers, r.Postoverflows, r.Scenarios, r.Contexts)
	fmt.Fprintf(&b, "sources: %s\nsinks: %s\n", strings.Join(r.Sources, ", "), strings.Join(r.Sinks, ", "))
	if r.Skipped > 0 {
		fmt.Fprintf(&b, "%d rules are broken and would be left out\n", r.Skipped)
	} else {
		b.WriteString("ok\n")
	}
	return b.String()
}

// Check makes everything that a run would make but its state, which may be in
// use, and runs nothing. Broken rules are logged.
func Check(c *Config, log *slog.Logger) (*Report, error) {
	stateless := *c
	stateless.checkedDir = c.StateDir() // sources and sinks that keep something ask for it, and make nothing yet
	stateless.State.Dir = ""
	p, err := New(&stateless, Env{Log: log})
	if err != nil {
		return nil, err
	}
	set := p.engine.Set
	r := &Report{
		Name: c.Name, Parsers: len(set.Parsers), Postoverflows: len(set.Postoverflows),
		Scenarios: len(set.Scenarios), Contexts: len(set.Contexts), Skipped: p.Skipped,
	}
	for _, s := range p.sources {
		r.Sources = append(r.Sources, s.Name())
	}
	for _, s := range p.sinks {
		r.Sinks = append(r.Sinks, s.Name())
	}
	if len(r.Sinks) == 0 {
		err = errors.New("there are no sinks: alerts would go nowhere; add one under sinks:, such as type: stdout")
	}
	return r, errors.Join(err, p.Close())
}
