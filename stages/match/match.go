package match

import (
	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// Options say what a Matcher is compiled against.
type Options struct {
	// Compiler compiles the documents' expressions. One with
	// expression.Options.Reference makes an oracle for MatchReference.
	Compiler *expression.Compiler
	// Schema is the compiler's; it grows while the documents are compiled.
	Schema *pipeline.Schema
}

// Error is a scenario document that cannot be matched. The document never
// pours; the others are not affected.
type Error struct {
	// Scenario is the index of the document.
	Scenario int32
	// Err is a *rules.Error with place, scenario and cause.
	Err error
}

// Error returns the place, the scenario, the key and what is wrong.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the *rules.Error.
func (e *Error) Unwrap() error { return e.Err }

// Matcher knows which documents an event pours into. It is read-only: each
// goroutine matches with a Runner of its own.
type Matcher struct {
	compiler *expression.Compiler
	sourceIP pipeline.Slot
	docs     []document
	index    *index
	// alertDocs are the documents that OverflowEvents are tried on, ascending.
	alertDocs []int32
}

// Compile compiles the documents, whose index in scenarios is the number that
// Pour.Scenario carries. Each error is an *Error; its document is left out.
func Compile(scenarios []*rules.Scenario, o Options) (*Matcher, []error) {
	m := &Matcher{
		compiler: o.Compiler,
		sourceIP: o.Schema.Slot(pipeline.Meta, "source_ip"),
		docs:     make([]document, len(scenarios)),
	}
	c := newDocCompiler(o)
	var errs []error
	for i, sc := range scenarios {
		if err := c.compile(&m.docs[i], sc); err != nil {
			errs = append(errs, &Error{Scenario: int32(i), Err: err})
		}
	}
	assignRoutes(m.docs, scenarios)
	c.markConsumers(m.docs, scenarios)

	var entries []entry
	for i := range m.docs {
		d := &m.docs[i]
		if d.filter == nil || d.filter.Analysis().ConstFalse {
			continue
		}
		var conjuncts []expression.Conjunct
		if !d.afterWriter {
			conjuncts = d.filter.Analysis().Conjuncts
		}
		entries = append(entries, entry{doc: int32(i), conjuncts: conjuncts})
		if d.consumer {
			m.alertDocs = append(m.alertDocs, int32(i))
		}
	}
	m.index = newIndex(len(m.docs), entries)
	return m, errs
}

// Len returns the number of documents, those left out included.
func (m *Matcher) Len() int { return len(m.docs) }

// Compiled tells whether a document takes part: it is false for one that
// Compile reported an error for.
func (m *Matcher) Compiled(scenario int32) bool { return m.docs[scenario].filter != nil }

// Consumer tells whether a document can take alerts that are reprocessed: its
// filter asks for the event's type or alert, or is true on an event that has
// neither fields nor an alert. The pours of such a document carry AlertLane.
func (m *Matcher) Consumer(scenario int32) bool { return m.docs[scenario].consumer }

// RoutedBySourceIP tells whether the pours of a document are routed by
// evt.Meta.source_ip alone (docs/architecture.md, Routing), so that a source partitioned
// by address keeps all its buckets in one place.
func (m *Matcher) RoutedBySourceIP(scenario int32) bool {
	return m.docs[scenario].route.kind != routeByKey
}

// IndexStats describes how many documents the index can rule out, and by what.
type IndexStats struct {
	// Documents take part at all; Gated of them stand behind a condition of
	// equality, Scanned are ruled out by a literal, Always are neither.
	Documents, Gated, Scanned, Always int
	// Operands are the texts scanned, States and Bytes the size of their automatons.
	Operands, States, Bytes int
}

// IndexStats returns figures about the index.
func (m *Matcher) IndexStats() IndexStats { return m.index.stats }
