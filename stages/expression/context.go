package expression

import (
	"time"

	"github.com/expr-lang/expr/vm"

	"sluice/pipeline"
)

// Context is what an expression may reach while it runs. One belongs to each
// goroutine that runs programs; its zero value but for Event is ready.
type Context struct {
	// Event is what evt names.
	Event *pipeline.Event
	// Stash serves GetFromStash and SetInStash; nil outside the parse stages.
	Stash Stash
	// Decisions serves GetDecisionsCount and its kin; nil answers 0.
	Decisions Decisions

	machine vm.VM
	env     env
}

// Stash is the memory of one source partition.
type Stash interface {
	Get(name, key string) (value string, ok bool)
	Set(name, key, value string, ttl time.Duration) error
}

// Decisions answers what is decided about a value.
type Decisions interface {
	Count(value string) (int, error)
	SinceCount(value string, since time.Duration) (int, error)
	ActiveCount(value string) (int, error)
	ActiveTimeLeft(value string) (time.Duration, error)
}

// env is what the VM sees. evt is set only for programs that use the event in
// a way that the patcher could not turn into slots.
type env struct {
	Evt         *pipeline.View         `expr:"evt"`
	Ctx         *Context               `expr:"sluice_ctx"`
	Unmarshaled map[string]any         `expr:"sluice_unmarshaled"`
	Overflow    *pipeline.RuntimeAlert `expr:"sluice_overflow"`
}

// The names in env of what the patcher puts in place of reads of evt.
const (
	ctxName         = "sluice_ctx"
	unmarshaledName = "sluice_unmarshaled"
	overflowName    = "sluice_overflow"
)

// noOverflow stands for the alert that a log event does not have. Nothing writes to it.
var noOverflow = &pipeline.RuntimeAlert{}

// run runs a VM program on the context's event.
func (ctx *Context) run(m *machine) (any, error) {
	ev, e := ctx.Event, &ctx.env
	e.Ctx, e.Overflow = ctx, ev.Overflow
	if e.Overflow == nil {
		e.Overflow = noOverflow
	}
	if m.unmarshaled && ev.Unmarshaled == nil {
		ev.Unmarshaled = make(map[string]any)
	}
	e.Unmarshaled = ev.Unmarshaled
	if m.view {
		e.Evt = ev.View()
		e.Unmarshaled = ev.Unmarshaled
	}
	out, err := ctx.machine.Run(m.program, e)
	e.Evt = nil
	return out, err
}
