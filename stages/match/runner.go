package match

import (
	"math/bits"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// Counters count what happened to one scenario document.
type Counters struct {
	// Pours were made, the failed ones among them.
	Pours uint64
	// Failed pours carry Pour.Failed: groupby, distinct or scope gave no value.
	Failed uint64
	// FilterErrors: the filter failed, which counts as false (FIDELITY 24).
	FilterErrors uint64
	// CancelErrors: cancel_on failed, which counts as false.
	CancelErrors uint64
	// First is the first error of any of these kinds, nil without one.
	First error
}

// Add adds another count of the same document.
func (c *Counters) Add(o *Counters) {
	c.Pours += o.Pours
	c.Failed += o.Failed
	c.FilterErrors += o.FilterErrors
	c.CancelErrors += o.CancelErrors
	if c.First == nil {
		c.First = o.First
	}
}

func (c *Counters) note(n *uint64, err error) {
	*n++
	if c.First == nil {
		c.First = err
	}
}

// Runner matches events for one goroutine.
type Runner struct {
	m        *Matcher
	search   search
	counters []Counters

	// Of the event at hand:
	kept     *pipeline.Kept // nil until something pours
	plain    bool           // without short cuts, for MatchReference
	keyText  string         // the last key that was copied
	keyKept  string         // its copy
	hashText string         // the address hashed last
	hash     uint64
}

// NewRunner returns a Runner.
func (m *Matcher) NewRunner() *Runner {
	return &Runner{m: m, search: newSearch(m.index), counters: make([]Counters, len(m.docs))}
}

// Match appends the pours of the context's event to out, in ascending order
// of scenario, and returns it. The event is complete: nothing writes to its
// fields any more but the filters themselves. line goes into the pours. What
// the pours refer to lives in arena, where set says what is kept of the
// event: one Kept, shared by the event's pours. A whitelisted event pours
// nowhere (FIDELITY 6).
//
// It equals MatchReference on a Matcher that was compiled with the reference
// compiler, error counts aside: a filter that the index rules out does not
// run, so it cannot fail either. TestMatchEqualsThePlainLoop and
// TestHub hold the two together.
func (r *Runner) Match(ctx *expression.Context, line int32, set *pipeline.KeepSet, arena *pipeline.KeptArena, out []pipeline.Pour) []pipeline.Pour {
	r.forget()
	r.plain = false
	if ctx.Event.Whitelisted {
		return out
	}
	if ctx.Event.Type == pipeline.OverflowEvent {
		for _, i := range r.m.alertDocs {
			out = r.try(i, ctx, line, set, arena, out)
		}
		return out
	}
	r.m.index.candidates(&r.search, r.m.compiler, ctx)
	for w, word := range r.search.alive {
		for word != 0 {
			i := int32(w<<6 + bits.TrailingZeros64(word))
			word &= word - 1
			out = r.try(i, ctx, line, set, arena, out)
		}
	}
	return out
}

// MatchReference does what Match does by running every document, and takes no
// short cut on the values of groupby, distinct and scope. It is the oracle.
func (r *Runner) MatchReference(ctx *expression.Context, line int32, set *pipeline.KeepSet, arena *pipeline.KeptArena, out []pipeline.Pour) []pipeline.Pour {
	r.forget()
	r.plain = true
	if ctx.Event.Whitelisted {
		return out
	}
	for i := range r.m.docs {
		d := &r.m.docs[i]
		if d.filter == nil || ctx.Event.Type == pipeline.OverflowEvent && !d.consumer {
			continue
		}
		out = r.try(int32(i), ctx, line, set, arena, out)
	}
	return out
}

// Counters returns the counts so far, by document. The slice is the Runner's:
// it must not be read while the Runner matches.
func (r *Runner) Counters() []Counters { return r.counters }

// Drain adds the counts to into, one entry a document, and sets them to zero.
func (r *Runner) Drain(into []Counters) {
	for i := range r.counters {
		into[i].Add(&r.counters[i])
		r.counters[i] = Counters{}
	}
}

// forget drops what belongs to the last event: its strings may be overwritten by now.
func (r *Runner) forget() {
	r.kept = nil
	r.keyText, r.keyKept, r.hashText = "", "", ""
}

// try runs a document's filter and pours when it is true.
func (r *Runner) try(i int32, ctx *expression.Context, line int32, set *pipeline.KeepSet, arena *pipeline.KeptArena, out []pipeline.Pour) []pipeline.Pour {
	d := &r.m.docs[i]
	ok, err := d.filter.Bool(ctx)
	if d.writes {
		r.kept = nil // what was kept for earlier pours shows the event before this filter
	}
	if err != nil {
		c := &r.counters[i]
		c.note(&c.FilterErrors, err)
		return out
	}
	if !ok {
		return out
	}
	if r.kept == nil {
		r.kept = arena.Keep(ctx.Event, set)
	}
	return append(out, r.pour(i, ctx, line, arena))
}

// pour computes what a bucket needs to know of the event.
func (r *Runner) pour(i int32, ctx *expression.Context, line int32, arena *pipeline.KeptArena) pipeline.Pour {
	d, c := &r.m.docs[i], &r.counters[i]
	c.Pours++
	p := pipeline.Pour{Scenario: i, Line: line, AlertLane: d.consumer, Event: r.kept}
	var failure error
	if d.groupBy != nil {
		key, isString, err := r.text(d.groupBy, ctx)
		if err == nil && !isString {
			err = d.groupBy.notString()
		}
		if err != nil {
			failure = err
		} else {
			p.Key = r.keep(d.groupBy, key, arena)
		}
	}
	p.Route = r.route(&d.route, p.Key)
	if d.distinct != nil {
		text, _, err := r.text(d.distinct, ctx)
		if err != nil && failure == nil {
			failure = err
		}
		p.Distinct = r.keep(d.distinct, text, arena)
	}
	if d.scope != nil {
		text, _, err := r.text(d.scope, ctx)
		if err != nil && failure == nil {
			failure = err
		}
		p.Scope = r.keep(d.scope, text, arena)
	}
	if failure != nil {
		p.Failed = true
		c.note(&c.Failed, failure)
		return p
	}
	if d.cancelOn != nil {
		cancel, err := d.cancelOn.Bool(ctx)
		if err != nil {
			c.note(&c.CancelErrors, err)
		}
		p.Cancel = cancel && err == nil
	}
	return p
}

func (r *Runner) text(v *value, ctx *expression.Context) (text string, isString bool, err error) {
	if r.plain {
		return v.evalText(ctx)
	}
	return v.text(ctx)
}

// keep puts a value where it outlives the event. Several scenarios mostly ask
// for the same one, so the last copy is tried first.
func (r *Runner) keep(v *value, text string, arena *pipeline.KeptArena) string {
	if text != "" && text == r.keyText {
		return r.keyKept
	}
	kept := v.keep(text, r.kept, arena)
	r.keyText, r.keyKept = text, kept
	return kept
}

// route hashes a key, remembering the last address: it is mostly that of all
// pours of an event.
func (r *Runner) route(rt *route, key string) uint64 {
	if rt.kind != routeByAddress {
		return rt.hash(key)
	}
	if key == "" || key != r.hashText {
		r.hashText, r.hash = key, rt.hash(key)
	}
	return r.hash
}
