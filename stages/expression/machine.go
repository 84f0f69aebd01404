package expression

import (
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// machine is an expression, or a part of one, compiled for expr's VM.
type machine struct {
	program *vm.Program
	// view: it names evt in a way that needs a pipeline.View.
	view bool
	// unmarshaled: it hands evt.Unmarshaled as a whole to something, so that a nil map will not do.
	unmarshaled bool
}

// config returns expr's settings for an environment, with all helpers.
func config(env any, options []expr.Option) *conf.Config {
	cfg := conf.CreateNew()
	cfg.WithEnv(env)
	for _, o := range options {
		o(cfg)
	}
	return cfg
}

// parse reads a source into a tree that is neither checked nor patched.
func parse(src string, cfg *conf.Config) (tree *parser.Tree, err error) {
	if err := guard(src); err != nil {
		return nil, err
	}
	defer recovered(&err)
	return parser.ParseWithConfig(src, cfg)
}

// recovered turns a panic of the compiler, which bad sources should not but
// might cause, into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the expression cannot be compiled: %v", r)
	}
}

// build patches, checks and compiles a tree, which it uses up.
func build(source file.Source, root ast.Node, cfg *conf.Config, patch *patcher) (m *machine, err error) {
	defer recovered(&err)
	tree := &parser.Tree{Node: root, Source: source}
	ast.Walk(&tree.Node, patch)
	if patch.slots {
		ast.Walk(&tree.Node, wholes{})
	}
	if _, err := new(checker.Checker).Check(tree, cfg); err != nil {
		return nil, err
	}
	m = &machine{}
	m.scan(tree.Node)
	if err := optimizer.Optimize(&tree.Node, cfg); err != nil {
		return nil, err
	}
	m.program, err = compiler.Compile(tree, cfg)
	return m, err
}

// scan finds out what a patched tree needs of its environment.
func (m *machine) scan(n ast.Node) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		m.view = m.view || n.Value == "evt" || n.Value == "$env"
		m.unmarshaled = m.unmarshaled || n.Value == unmarshaledName || n.Value == "$env"
		return
	case *ast.MemberNode:
		if isNamed(n.Node, unmarshaledName) && !n.Optional {
			m.scan(n.Property)
			return
		}
	}
	for _, child := range children(n) {
		m.scan(*child)
	}
}

// run runs the machine on the context's event.
func (m *machine) run(ctx *Context) (any, error) {
	out, err := ctx.run(m)
	if err != nil {
		return nil, runError(err)
	}
	return out, nil
}

// boolean runs the machine for a bool.
func (m *machine) boolean(ctx *Context) (bool, error) {
	out, err := m.run(ctx)
	if err != nil {
		return false, err
	}
	return boolOf(out)
}

func boolOf(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the condition gives %T, not a bool", v)
	}
	return b, nil
}
