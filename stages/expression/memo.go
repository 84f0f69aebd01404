package expression

import "sluice/pipeline"

// memos numbers the functions of fields that filters share. They are numbered
// while rules are compiled and only read afterwards.
type memos struct {
	index map[string]int
	fns   []memoised
}

type memoised struct {
	slot  pipeline.Slot
	chain []lineFunc // applied in order
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

func (c *Compiler) operand(t *text) Operand {
	if len(t.chain) == 0 {
		return Operand{t.slot, -1, t.name}
	}
	if c.memo.index == nil {
		c.memo.index = make(map[string]int)
	}
	i, ok := c.memo.index[t.name]
	if !ok {
		i = len(c.memo.fns)
		c.memo.index[t.name] = i
		c.memo.fns = append(c.memo.fns, memoised{t.slot, t.chain})
	}
	return Operand{t.slot, i, t.name}
}

// Operand computes an operand's value for the context's event, through the
// memo. The event's fields must no longer change.
func (c *Compiler) Operand(o Operand, ctx *Context) string {
	if o.Memo < 0 {
		return ctx.Event.Get(o.Slot)
	}
	return c.memoValue(o.Memo, ctx.Event)
}

func (c *Compiler) memoValue(i int, ev *pipeline.Event) string {
	if v, ok := ev.Memo(i); ok {
		return v
	}
	m := &c.memo.fns[i]
	v := ev.Get(m.slot)
	for _, f := range m.chain {
		v = f(ev, v)
	}
	ev.SetMemo(i, v)
	return v
}
