package match

import (
	"errors"
	"strings"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// document is a compiled scenario document.
type document struct {
	filter   *expression.Program // nil when the document did not compile
	groupBy  *value              // nil without a groupby: one bucket for all (FIDELITY 21)
	distinct *value              // nil without, and for triggers (FIDELITY 19)
	scope    *value
	cancelOn *expression.Program // nil without, and for triggers (FIDELITY 19)
	route    route
	// consumer: see Matcher.Consumer.
	consumer bool
	// writes: running the document may change the event, so one that was kept before is out of date.
	writes bool
	// afterWriter: a document before this one may write fields that the filter reads.
	afterWriter bool
}

// docCompiler compiles documents in their order. The hub repeats most of its
// expressions many times: equal texts share a program.
type docCompiler struct {
	compiler *expression.Compiler
	schema   *pipeline.Schema
	programs map[string]*expression.Program
	written  writes
}

func newDocCompiler(o Options) *docCompiler {
	return &docCompiler{compiler: o.Compiler, schema: o.Schema, programs: make(map[string]*expression.Program)}
}

// compile fills d from the scenario; on an error d stays without a filter.
func (c *docCompiler) compile(d *document, sc *rules.Scenario) error {
	var used []*expression.Program
	compile := func(part string, t rules.Text) (*expression.Program, error) {
		if strings.TrimSpace(t.Value) == "" {
			return nil, nil
		}
		p, err := c.program(t.Value)
		if err != nil {
			return nil, compileError(sc, part, t, err)
		}
		used = append(used, p)
		return p, nil
	}
	compileValue := func(part string, t rules.Text) (*value, error) {
		p, err := compile(part, t)
		if p == nil {
			return nil, err
		}
		return newValue(p, t.Value, c.schema), nil
	}

	filter, err := compile("filter", sc.Filter)
	if err != nil {
		return err
	}
	if filter == nil {
		return rules.NewError(sc.Pos, sc.Name, "the scenario has no filter", "")
	}
	if d.groupBy, err = compileValue("groupby", sc.GroupBy); err != nil {
		return err
	}
	if d.scope, err = compileValue("scope", sc.ScopeExpr); err != nil {
		return err
	}
	running := len(used)
	if d.distinct, err = compileValue("distinct", sc.Distinct); err != nil {
		return err
	}
	if d.cancelOn, err = compile("cancel_on", sc.CancelOn); err != nil {
		return err
	}
	if sc.Type == "trigger" { // it has to compile, but never runs (FIDELITY 19)
		d.distinct, d.cancelOn = nil, nil
		used = used[:running]
	}
	d.afterWriter = c.written.touch(filter)
	for _, p := range used {
		if p.Analysis().Writes {
			d.writes = true
			c.written.add(p, c.schema)
		}
	}
	d.filter = filter
	return nil
}

// compileError places an expression's error in the rule file.
func compileError(sc *rules.Scenario, part string, t rules.Text, err error) error {
	var e *expression.Error
	if errors.As(err, &e) {
		return rules.NewError(t.At(e.Line, e.Column), sc.Name, part+": "+e.Message, e.Suggestion)
	}
	return rules.NewError(t.Pos, sc.Name, part+": "+err.Error(), "")
}

// program compiles an expression once for each text. Shared sub-expressions
// may use the event's memos only as long as nothing changes the fields they
// read: what reads a field that was written before goes without.
func (c *docCompiler) program(src string) (*expression.Program, error) {
	p, err := c.compileOnce(src, src, c.compiler.CompileFilter)
	if err != nil || !c.written.touch(p) {
		return p, err
	}
	return c.compileOnce("\x00"+src, src, c.compiler.Compile)
}

func (c *docCompiler) compileOnce(key, src string, compile func(string) (*expression.Program, error)) (*expression.Program, error) {
	if p, ok := c.programs[key]; ok {
		return p, nil
	}
	p, err := compile(src)
	if err != nil {
		return nil, err
	}
	c.programs[key] = p
	return p, nil
}

// markConsumers decides which documents can take alerts. Documents of equal
// name and filter share their buckets (FIDELITY 14) and so must agree.
func (c *docCompiler) markConsumers(docs []document, scenarios []*rules.Scenario) {
	consumers := make(map[groupID]bool)
	for i := range docs {
		if docs[i].filter != nil && c.takesAlerts(docs[i].filter) {
			consumers[groupOf(scenarios[i])] = true
		}
	}
	for i := range docs {
		docs[i].consumer = consumers[groupOf(scenarios[i])]
	}
}

// takesAlerts tells whether a filter asks for alerts, or is true on an event
// that is an alert and has no fields.
func (c *docCompiler) takesAlerts(filter *expression.Program) bool {
	a := filter.Analysis()
	switch {
	case a.ConstFalse:
		return false
	case a.Overflow:
		return true
	case !holdsWhenEmpty(a.Conjuncts):
		return false
	case a.Outside:
		return true // it cannot be asked while rules are compiled
	}
	ev := pipeline.NewEvent(c.schema)
	ev.Type = pipeline.OverflowEvent
	ev.Overflow = &pipeline.RuntimeAlert{}
	ok, err := filter.Bool(&expression.Context{Event: ev})
	return ok && err == nil
}

// holdsWhenEmpty tells whether the conditions on bare fields hold on an event without any.
func holdsWhenEmpty(conjuncts []expression.Conjunct) bool {
	for _, cj := range conjuncts {
		if cj.Operand.Memo >= 0 {
			continue
		}
		holds := false
		for _, l := range cj.Literals {
			holds = holds || l == ""
		}
		if !holds {
			return false
		}
	}
	return true
}
