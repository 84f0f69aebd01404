package expression

import (
	"fmt"
	"math/rand/v2"
	"reflect"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// differ runs one expression in every mode and tells where they differ.
type differ struct {
	src                string
	compiler           *Compiler
	schema             *pipeline.Schema
	compiled, filter   *Program
	reference          *Program
	maker              *eventMaker
	trues, errs        int
	ctx, plain, shared Context
}

func newDiffer(src string, data *funcs.Data) (*differ, error) {
	d := &differ{src: src, schema: pipeline.NewSchema()}
	c := NewCompiler(d.schema, data, Options{})
	d.compiler = c
	var err error
	if d.compiled, err = c.Compile(src); err != nil {
		return nil, err
	}
	if d.filter, err = c.CompileFilter(src); err != nil {
		return nil, err
	}
	if d.reference, err = NewCompiler(d.schema, data, Options{Reference: true}).Compile(src); err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	tree, err := parse(src, c.config)
	if err != nil {
		return nil, err
	}
	d.maker = newEventMaker(tree.Node, d.schema, data)
	return d, nil
}

// compare makes an event and runs the expression on equal copies of it.
func (d *differ) compare(r *rand.Rand) string {
	seed := r.Uint64()
	fresh := func() *pipeline.Event { return d.maker.event(rand.New(rand.NewPCG(seed, 7))) }

	d.plain.Event = fresh()
	want, wantErr := d.reference.Bool(&d.plain)
	after := d.plain.Event.View()
	if want {
		d.trues++
	}
	if wantErr != nil {
		d.errs++
	}
	for name, p := range map[string]*Program{"parser": d.compiled, "filter": d.filter} {
		ev := fresh()
		d.ctx.Event = ev
		got, err := p.Bool(&d.ctx)
		if got != want || (err == nil) != (wantErr == nil) {
			return fmt.Sprintf("as a %s: %v, %v; reference %v, %v\non %s", name, got, err, want, wantErr, describe(fresh()))
		}
		if view := ev.View(); !reflect.DeepEqual(view, after) {
			return fmt.Sprintf("as a %s, the event afterwards: %+v\nreference: %+v", name, view, after)
		}
		if got {
			for _, cj := range p.Analysis().Conjuncts {
				if !d.holds(cj, fresh()) {
					return fmt.Sprintf("true, but not its conjunct %+v\non %s", cj, describe(fresh()))
				}
			}
			if p.Analysis().ConstFalse {
				return "true, but said to be never so"
			}
		}
	}
	d.plain.Event = fresh()
	wantText, wantWrite, wantErr := d.reference.Text(&d.plain)
	d.ctx.Event = fresh()
	text, write, err := d.compiled.Text(&d.ctx)
	if text != wantText || write != wantWrite || (err == nil) != (wantErr == nil) {
		return fmt.Sprintf("text %q, %v, %v; reference %q, %v, %v\non %s", text, write, err, wantText, wantWrite, wantErr, describe(fresh()))
	}
	d.plain.Event = fresh()
	wantValue, wantErr := d.reference.Eval(&d.plain)
	d.ctx.Event = fresh()
	value, err := d.compiled.Eval(&d.ctx)
	if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(value, wantValue) {
		return fmt.Sprintf("value %#v, %v; reference %#v, %v\non %s", value, err, wantValue, wantErr, describe(fresh()))
	}
	return ""
}

// holds tells whether a conjunct is met by an event.
func (d *differ) holds(cj Conjunct, ev *pipeline.Event) bool {
	d.shared.Event = ev
	s := d.compiler.Operand(cj.Operand, &d.shared)
	op := map[ConjunctOp]string{Equals: "==", Contains: "contains", StartsWith: "startsWith", EndsWith: "endsWith"}[cj.Op]
	for _, l := range cj.Literals {
		if textOp(op)(s, l) {
			return true
		}
	}
	return false
}

func describe(ev *pipeline.Event) string {
	v := ev.View()
	return fmt.Sprintf("Meta %q Parsed %q Enriched %q Labels %q Raw %q Unmarshaled %#v", v.Meta, v.Parsed, v.Enriched, v.Line.Labels, v.Line.Raw, v.Unmarshaled)
}
