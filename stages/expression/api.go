package expression

// This file fixes the package's API; see doc.go.

import (
	"time"

	"sluice/pipeline"
)

// Context is what an expression may reach while it runs. One belongs to each
// goroutine that runs programs.
type Context struct {
	// Event is what evt names.
	Event *pipeline.Event
	// Stash serves GetFromStash and SetInStash; nil outside the parse stages.
	Stash Stash
	// Decisions serves GetDecisionsCount and its kin; nil answers 0 and "".
	Decisions Decisions
	// Now is the clock for the few helpers that read one; nil is time.Now.
	Now func() time.Time
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

// Compiler compiles the expressions of one rule set against one schema.
type Compiler struct{}

// Options configure a Compiler.
type Options struct {
	// Reference compiles everything for the plain expr VM on a pipeline.View: the oracle.
	Reference bool
}

// Compile compiles an expression over evt. An *Error says where in src.
func (c *Compiler) Compile(src string) (*Program, error) { panic("unimplemented") }

// Error is a compile error with its place in the expression.
type Error struct {
	Line, Column int // from 1
	Message      string
	Snippet      string
	Suggestion   string // "" or what was probably meant
}

func (e *Error) Error() string { return e.Message }

// Program is a compiled expression over evt: safe for concurrent use, each goroutine with its Context.
type Program struct{}

// Source returns the expression's text.
func (p *Program) Source() string { panic("unimplemented") }

// Bool runs a filter. An error counts as false (FIDELITY 9); the caller counts it.
func (p *Program) Bool(ctx *Context) (bool, error) { panic("unimplemented") }

// Eval runs the program and returns what it gives.
func (p *Program) Eval(ctx *Context) (any, error) { panic("unimplemented") }

// Text runs the program as a static or a groupby does and renders its value
// by FIDELITY 7. write is false for nil, maps, lists and empty values; err
// reports a failed run or a type that cannot be written.
func (p *Program) Text(ctx *Context) (value string, write bool, err error) { panic("unimplemented") }

// Analysis is what a program was found to do, at compile time.
type Analysis struct {
	// Reads are the fields it reads by fixed names.
	Reads []pipeline.Slot
	// ReadsUnmarshaled: it reads evt.Unmarshaled.
	ReadsUnmarshaled bool
	// ReadsWhole: it uses a namespace or the event as a whole.
	ReadsWhole bool
	// Overflow: it mentions evt.Overflow, evt.GetType or evt.Type.
	Overflow bool
	// Stash: it calls GetFromStash or SetInStash.
	Stash bool
	// Writes: it may write to the event (UnmarshalJSON, ParseKV and kin, evt.SetMeta, …).
	Writes bool
	// Outside: it asks the outside or the clock (decisions, look-ups, TimeNow).
	Outside bool
	// Conjuncts are conditions that must all hold for the program to be true.
	Conjuncts []Conjunct
	// ConstFalse: it can never be true.
	ConstFalse bool
}

// Analysis returns what the compiler found out.
func (p *Program) Analysis() *Analysis { panic("unimplemented") }

// ConjunctOp is the kind of a Conjunct.
type ConjunctOp uint8

// The kinds of conjunct. A disjunction of the same kind on the same operand
// (a == 'x' || a == 'y', contains … || contains …) is one conjunct.
const (
	Equals     ConjunctOp = iota // the operand equals one of Literals
	Contains                     // the operand contains one of Literals
	StartsWith                   // the operand starts with one of Literals
	EndsWith                     // the operand ends with one of Literals
)

// Operand is a field, possibly through pure string functions.
type Operand struct {
	Slot pipeline.Slot
	// Memo is the index under which pipeline.Event.Memo shares the value of
	// the functions on the slot; -1 for the bare slot.
	Memo int
	// Text renders the operand, such as Upper(evt.Meta.http_path).
	Text string
}

// Conjunct is a necessary condition of a filter.
type Conjunct struct {
	Op       ConjunctOp
	Operand  Operand
	Literals []string
}

// Operand computes an operand's value for the context's event, through the memo.
func (c *Compiler) Operand(o Operand, ctx *Context) string { panic("unimplemented") }

// QueueEnv is what a bucket's expressions (condition, overflow_filter,
// bayesian conditions) may name.
type QueueEnv struct {
	Evt    *pipeline.View         `expr:"evt"`
	Queue  Queue                  `expr:"queue"`
	Leaky  LeakyView              `expr:"leaky"`
	Signal *pipeline.RuntimeAlert `expr:"signal"`
}

// Queue is a bucket's queue of events, oldest first.
type Queue struct {
	Queue []*pipeline.View
	L     int // capacity
}

// GetQueue returns the events.
func (q Queue) GetQueue() []*pipeline.View { return q.Queue }

// LeakyView is what expressions see of a bucket.
type LeakyView struct {
	Name, Mapkey string
	Total_count  int
	Capacity     int
	First_ts     time.Time
	Last_ts      time.Time
}

// CompileQueue compiles a bucket's expression.
func (c *Compiler) CompileQueue(src string) (*QueueProgram, error) { panic("unimplemented") }

// QueueProgram is a compiled bucket expression, safe for concurrent use.
type QueueProgram struct{}

// Bool runs the program.
func (p *QueueProgram) Bool(env *QueueEnv) (bool, error) { panic("unimplemented") }

// Analysis says what the program reads of evt and of the queue's events.
func (p *QueueProgram) Analysis() *Analysis { panic("unimplemented") }

// CompileView compiles an expression over a pipeline.View as evt, on the
// plain VM: alert contexts, profiles (alert), test assertions use it through extra.
func (c *Compiler) CompileView(src string, extra map[string]any) (*ViewProgram, error) {
	panic("unimplemented")
}

// ViewProgram is a program on the plain VM.
type ViewProgram struct{}

// Eval runs the program on an environment that holds evt and the names of extra.
func (p *ViewProgram) Eval(env map[string]any) (any, error) { panic("unimplemented") }

// Analysis says what the program reads.
func (p *ViewProgram) Analysis() *Analysis { panic("unimplemented") }
