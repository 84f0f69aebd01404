package expression

import (
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// Options configure a Compiler.
type Options struct {
	// Reference compiles everything for the plain expr VM on a pipeline.View: the oracle.
	Reference bool
	// Decisions serves GetDecisionsCount and its kin in programs that run
	// without a Context: profiles and bucket expressions.
	Decisions Decisions
	// Helpers are what the helpers may ask of the outside.
	Helpers funcs.Options
}

// Compiler compiles the expressions of one rule set against one schema. It is
// not for concurrent use while it compiles.
type Compiler struct {
	schema  *pipeline.Schema
	data    *funcs.Data
	opts    Options
	helpers map[string]*funcs.Function
	options []expr.Option // functions, for every kind of program
	config  *conf.Config  // of programs over evt; the VM's checker fills its caches

	memo memos
}

// NewCompiler returns a compiler. data must hold the data files by the time
// that expressions are compiled: their lines become part of the programs.
func NewCompiler(schema *pipeline.Schema, data *funcs.Data, opts Options) *Compiler {
	table := funcs.TableWith(data, opts.Helpers)
	c := &Compiler{schema: schema, data: data, opts: opts, helpers: make(map[string]*funcs.Function, len(table))}
	for i := range table {
		c.helpers[table[i].Name] = &table[i]
	}
	c.options = append(contextOptions(), helperOptions(table)...)
	c.config = config(env{}, c.options)
	return c
}

// Compile compiles an expression over evt, as parsers use it: while it runs,
// the event's fields change. An *Error says where in src it is wrong.
func (c *Compiler) Compile(src string) (*Program, error) { return c.compile(src, false) }

// CompileFilter is like Compile for filters that run when the event's fields
// no longer change: sub-expressions that several filters share are computed
// once an event. Behind a program that writes to the event's fields,
// pipeline.Event's memos are out of date: use Compile there.
func (c *Compiler) CompileFilter(src string) (*Program, error) { return c.compile(src, true) }

func (c *Compiler) compile(src string, frozen bool) (*Program, error) {
	tree, err := parse(src, c.config)
	if err != nil {
		return nil, c.explain(src, err)
	}
	machine, err := c.whole(tree)
	if err != nil {
		return nil, c.explain(src, err)
	}
	p := &Program{src: src, machine: machine}
	f := &fast{c: c, source: tree.Source, effects: make(map[node]effect)}
	f.normalise(&tree.Node)
	p.analysis = c.analyse(tree.Node, f)
	if c.opts.Reference {
		return p, nil
	}
	f.frozen = frozen && !p.analysis.Writes
	p.boolean = f.boolean(tree.Node)
	p.text, p.isText = f.program(tree.Node)
	return p, nil
}

// whole compiles a whole tree for the VM. Should the patched tree not do, the
// plain one decides, and its message has none of the patcher's names.
func (c *Compiler) whole(tree *parser.Tree) (*machine, error) {
	if !c.opts.Reference {
		if m, err := build(tree.Source, clone(tree.Node), c.config, &patcher{c: c, slots: true}); err == nil {
			return m, nil
		}
	}
	return build(tree.Source, clone(tree.Node), c.config, &patcher{c: c})
}

// part compiles a part of a tree for the VM, or returns nil.
func (c *Compiler) part(source file.Source, n node) *machine {
	m, err := build(source, clone(n), c.config, &patcher{c: c, slots: true})
	if err != nil {
		return nil
	}
	return m
}
