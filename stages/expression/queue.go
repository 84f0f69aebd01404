package expression

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/vm"

	"sluice/pipeline"
)

// QueueEnv is what a bucket's expressions (condition, overflow_filter,
// bayesian conditions) may name.
type QueueEnv struct {
	Evt    *pipeline.View         `expr:"evt"`
	Queue  Queue                  `expr:"queue"`
	Leaky  LeakyView              `expr:"leaky"`
	Signal *pipeline.RuntimeAlert `expr:"signal"`
	Ctx    *Context               `expr:"sluice_ctx"`
}

// Queue is a bucket's queue of events, oldest first.
type Queue struct {
	Queue []*pipeline.View
	L     int // capacity
}

// GetQueue returns the events.
func (q Queue) GetQueue() []*pipeline.View { return q.Queue }

// LeakyView is what expressions see of a bucket. The names are those that rules use.
type LeakyView struct {
	Name, Mapkey string
	Total_count  int
	Capacity     int
	First_ts     time.Time
	Last_ts      time.Time
}

// QueueProgram is a compiled bucket expression, safe for concurrent use.
type QueueProgram struct {
	src      string
	vm       *vm.Program
	ctx      *Context
	analysis Analysis
}

// CompileQueue compiles a bucket's expression.
func (c *Compiler) CompileQueue(src string) (*QueueProgram, error) {
	prog, analysis, err := c.plain(src, QueueEnv{})
	if err != nil {
		return nil, err
	}
	return &QueueProgram{src, prog, &Context{Decisions: c.opts.Decisions}, analysis}, nil
}

// plain compiles for the VM without slots.
func (c *Compiler) plain(src string, env any) (*vm.Program, Analysis, error) {
	cfg := config(env, c.options)
	tree, err := parse(src, cfg)
	if err != nil {
		return nil, Analysis{}, c.explain(src, err)
	}
	analysis := c.analyse(tree.Node, nil)
	m, err := build(tree.Source, tree.Node, cfg, &patcher{c: c})
	if err != nil {
		return nil, Analysis{}, c.explain(src, err)
	}
	return m.program, analysis, nil
}

// Bool runs the program.
func (p *QueueProgram) Bool(env *QueueEnv) (bool, error) {
	env.Ctx = p.ctx
	out, err := vm.Run(p.vm, env)
	if err != nil {
		return false, runError(err)
	}
	ok, isBool := out.(bool)
	if !isBool {
		return false, fmt.Errorf("the expression gives %T, not a bool: %s", out, shorten(p.src))
	}
	return ok, nil
}

// Analysis says what the program reads of evt and of the queue's events.
func (p *QueueProgram) Analysis() *Analysis { return &p.analysis }

// ViewProgram is a program on the plain VM.
type ViewProgram struct {
	vm       *vm.Program
	ctx      *Context
	analysis Analysis
}

// CompileView compiles an expression over evt, a pipeline.View, and the names
// of extra, on the plain VM: alert contexts and profiles.
func (c *Compiler) CompileView(src string, extra map[string]any) (*ViewProgram, error) {
	env := map[string]any{"evt": &pipeline.View{}, ctxName: &Context{}}
	for name, v := range extra {
		env[name] = v
	}
	prog, analysis, err := c.plain(src, env)
	if err != nil {
		return nil, err
	}
	return &ViewProgram{prog, &Context{Decisions: c.opts.Decisions}, analysis}, nil
}

// Eval runs the program on an environment that holds evt, where the program
// reads it, and the names of extra. It adds to the map what the program needs.
func (p *ViewProgram) Eval(env map[string]any) (any, error) {
	env[ctxName] = p.ctx
	out, err := vm.Run(p.vm, env)
	if err != nil {
		return nil, runError(err)
	}
	return out, nil
}

// Analysis says what the program reads.
func (p *ViewProgram) Analysis() *Analysis { return &p.analysis }
