package expression

import "fmt"

// Program is a compiled expression over evt: safe for concurrent use, each
// goroutine with its Context.
type Program struct {
	src      string
	machine  *machine
	analysis Analysis
	boolean  boolFunc // the fast form of a filter, or nil
	text     renderFunc
	isText   bool // text always gives a string
}

// renderFunc is the fast form of Program.Text.
type renderFunc func(*Context) (value string, write bool, err error)

// Source returns the expression's text.
func (p *Program) Source() string { return p.src }

// Analysis returns what the compiler found out.
func (p *Program) Analysis() *Analysis { return &p.analysis }

// Fast tells whether the program is compiled: as a filter, of which parts may
// still need the VM, and as a value that is always a string.
func (p *Program) Fast() (filter, text bool) { return p.boolean != nil, p.isText }

// Bool runs a filter. An error counts as false (FIDELITY 9); the caller counts it.
func (p *Program) Bool(ctx *Context) (bool, error) {
	run := p.boolean
	if run == nil {
		run = p.machine.boolean
	}
	ok, err := run(ctx)
	if err != nil {
		return false, err
	}
	return ok, nil
}

// Eval runs the program on the VM and returns what it gives.
func (p *Program) Eval(ctx *Context) (any, error) { return p.machine.run(ctx) }

// Text runs the program as a static or a groupby does and renders its value
// by FIDELITY 7. write is false for nil, maps, lists and empty values; err
// reports a failed run or a type that cannot be written.
func (p *Program) Text(ctx *Context) (value string, write bool, err error) {
	if p.text != nil {
		return p.text(ctx)
	}
	out, err := p.machine.run(ctx)
	if err != nil {
		return "", false, err
	}
	return Render(out)
}

// guarded runs a helper that takes any arguments: a panic in it is an error of the event.
func guarded(call func(...any) (any, error), args []any) (out any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a helper failed: %v", r)
		}
	}()
	return call(args...)
}
