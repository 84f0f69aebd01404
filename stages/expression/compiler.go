package expression

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/stages/expression/funcs"
)

// Options configure a Compiler.
type Options struct {
	// Reference compiles everything for the plain expr VM on a pipeline.View: the oracle.
	Reference bool
	// Decisions serves GetDecisionsCount and its kin in programs that run
	// without a Context: profiles and bucket expressions.
	Decisions Decisions
}

// Compiler compiles the expressions of one rule set against one schema. It is
// not for concurrent use while it compiles.
type Compiler struct {
	schema  *pipeline.Schema
	data    *funcs.Data
	opts    Options
	helpers map[string]*funcs.Function
	options []expr.Option // functions, for every kind of program

	memo memos
}

// NewCompiler returns a compiler. data must hold the data files by the time
// that programs run; conjuncts over a file's lines need it when they compile.
func NewCompiler(schema *pipeline.Schema, data *funcs.Data, opts Options) *Compiler {
	table := funcs.Table(data)
	c := &Compiler{schema: schema, data: data, opts: opts, helpers: make(map[string]*funcs.Function, len(table))}
	for i := range table {
		c.helpers[table[i].Name] = &table[i]
	}
	c.options = append(contextOptions(), helperOptions(table)...)
	return c
}

// Error is a compile error with its place in the expression.
type Error struct {
	Line, Column int // from 1
	Message      string
	Snippet      string
	Suggestion   string // "" or what was probably meant
}

// Error gives the message and the suggestion.
func (e *Error) Error() string {
	if e.Suggestion != "" {
		return fmt.Sprintf("%s (did you mean %q?)", e.Message, e.Suggestion)
	}
	return e.Message
}

// maxSource bounds an expression: the parser recurses with its depth.
const maxSource = 256 << 10

// Program is a compiled expression over evt: safe for concurrent use, each
// goroutine with its Context.
type Program struct {
	src      string
	vm       *vm.Program
	view     bool // the VM program needs evt as a View
	analysis Analysis
	boolean  boolFunc // the fast form of a filter, or nil
	text     textFunc // the fast form of a value, or nil
}

// Compile compiles an expression over evt, as parsers use it: while it runs,
// the event's fields change. An *Error says where in src it is wrong.
func (c *Compiler) Compile(src string) (*Program, error) { return c.compile(src, false) }

// CompileFilter is like Compile for filters that run when the event's fields
// no longer change: sub-expressions that several filters share are computed once an event.
func (c *Compiler) CompileFilter(src string) (*Program, error) { return c.compile(src, true) }

func (c *Compiler) compile(src string, frozen bool) (*Program, error) {
	if len(src) > maxSource {
		return nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the expression is longer than %d KiB", maxSource>>10)}
	}
	p := &Program{src: src}
	patch := &patcher{c: c, slots: !c.opts.Reference}
	options := append([]expr.Option{expr.Env(env{}), expr.Patch(patch)}, c.options...)
	prog, err := expr.Compile(src, options...)
	if err != nil {
		return nil, c.explain(err)
	}
	p.vm = prog
	p.view = usesEvt(prog.Node())
	tree, err := parser.Parse(src)
	if err != nil {
		return nil, c.explain(err)
	}
	p.analysis = c.analyse(tree.Node)
	if !c.opts.Reference {
		f := &fast{c: c, frozen: frozen && !p.analysis.Writes, vars: map[string]variable{}}
		if p.analysis.Writes || p.analysis.Stash {
			f.frozen = false
		}
		p.boolean = f.boolean(tree.Node)
		p.text = f.text(tree.Node)
		if !p.analysis.Stash {
			p.analysis.Conjuncts = c.conjuncts(tree.Node, f)
		}
	}
	return p, nil
}

// usesEvt tells whether a patched tree still names evt.
func usesEvt(n ast.Node) bool {
	f := &identFinder{name: "evt"}
	ast.Walk(&n, f)
	return f.found
}

type identFinder struct {
	name  string
	found bool
}

// Visit implements ast.Visitor.
func (f *identFinder) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok && id.Value == f.name {
		f.found = true
	}
}

// explain turns expr's error into one of ours.
func (c *Compiler) explain(err error) error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return &Error{Line: 1, Column: 1, Message: err.Error()}
	}
	out := &Error{Line: max(fe.Line, 1), Column: fe.Column + 1, Message: fe.Message, Snippet: strings.TrimSpace(fe.Snippet)}
	if name, ok := strings.CutPrefix(fe.Message, "unknown name "); ok {
		name, _, _ = strings.Cut(name, " ")
		out.Message = fmt.Sprintf("there is no helper or name %q", name)
		out.Suggestion = component.Nearest(name, c.names())
	}
	return out
}

func (c *Compiler) names() []string {
	names := []string{"evt"}
	for n := range c.helpers {
		names = append(names, n)
	}
	for n := range contextual {
		names = append(names, n)
	}
	return append(names, builtin.Names...)
}

// Source returns the expression's text.
func (p *Program) Source() string { return p.src }

// Analysis returns what the compiler found out.
func (p *Program) Analysis() *Analysis { return &p.analysis }

// Fast tells whether the program runs without the VM, as a filter or as a value.
func (p *Program) Fast() (filter, value bool) { return p.boolean != nil, p.text != nil }

// Bool runs a filter. An error counts as false (FIDELITY 9); the caller counts it.
func (p *Program) Bool(ctx *Context) (bool, error) {
	if p.boolean != nil {
		ok, err := p.boolean(ctx)
		return ok && err == nil, err
	}
	out, err := p.Eval(ctx)
	if err != nil {
		return false, err
	}
	ok, isBool := out.(bool)
	if !isBool {
		return false, fmt.Errorf("the expression gives %T, not a bool: %s", out, shorten(p.src))
	}
	return ok, nil
}

// Eval runs the program on the VM and returns what it gives.
func (p *Program) Eval(ctx *Context) (any, error) {
	out, err := ctx.run(p.vm, p.view)
	if err != nil {
		return nil, runError(err)
	}
	return out, nil
}

// Text runs the program as a static or a groupby does and renders its value
// by FIDELITY 7. write is false for nil, maps, lists and empty values; err
// reports a failed run or a type that cannot be written.
func (p *Program) Text(ctx *Context) (value string, write bool, err error) {
	if p.text != nil {
		value, err = p.text(ctx)
		return value, value != "" && err == nil, err
	}
	out, err := p.Eval(ctx)
	if err != nil {
		return "", false, err
	}
	return Render(out)
}

func runError(err error) error {
	var fe *file.Error
	if errors.As(err, &fe) {
		return errors.New(fe.Message)
	}
	return err
}

func shorten(s string) string {
	if s = strings.Join(strings.Fields(s), " "); len(s) > 100 {
		return s[:97] + "..."
	}
	return s
}

// memos numbers the shared sub-expressions of filters.
type memos struct {
	mu    sync.Mutex
	index map[string]int
	fns   []memoised
}

type memoised struct {
	slot  pipeline.Slot
	chain []func(string) string // applied in order
}

// Operand is a field, possibly through pure string functions.
type Operand struct {
	Slot pipeline.Slot
	// Memo is the index under which pipeline.Event.Memo shares the value of
	// the functions on the slot; -1 for the bare slot.
	Memo int
	// Text renders the operand, such as Upper(evt.Meta.http_path).
	Text string
}

func (c *Compiler) operand(text string, slot pipeline.Slot, chain []func(string) string) Operand {
	if len(chain) == 0 {
		return Operand{slot, -1, text}
	}
	c.memo.mu.Lock()
	defer c.memo.mu.Unlock()
	if c.memo.index == nil {
		c.memo.index = make(map[string]int)
	}
	i, ok := c.memo.index[text]
	if !ok {
		i = len(c.memo.fns)
		c.memo.index[text] = i
		c.memo.fns = append(c.memo.fns, memoised{slot, chain})
	}
	return Operand{slot, i, text}
}

// Operand computes an operand's value for the context's event, through the
// memo. The event's fields must no longer change.
func (c *Compiler) Operand(o Operand, ctx *Context) string {
	if o.Memo < 0 {
		return ctx.Event.Get(o.Slot)
	}
	if v, ok := ctx.Event.Memo(o.Memo); ok {
		return v
	}
	m := &c.memo.fns[o.Memo]
	v := ctx.Event.Get(m.slot)
	for _, f := range m.chain {
		v = f(v)
	}
	ctx.Event.SetMemo(o.Memo, v)
	return v
}
