package parse

import (
	"net/netip"

	"sluice/pipeline"
)

// node runs one node and those below it. entered is false when nothing of the
// node but its filter ran and the filter cannot have written anything.
func (r *Runner) node(n *node) (success, entered bool) {
	if r.obs != nil {
		r.obs.Enter(&n.info)
	}
	if n.filter != nil {
		if n.stashFilter {
			r.turn()
		}
		held, err := n.filter.Bool(r.ctx)
		if err != nil {
			r.Stats.FilterErrors++
			held = false
		}
		if !held {
			r.observe(n, Observation{Kind: FilterFalse, Err: err})
			r.leave(n, false)
			return false, n.filter.Analysis().Writes
		}
	}
	if n.ordered {
		r.turn()
	}
	success = r.body(n)
	if r.abortReason != "" {
		return false, true
	}
	r.leave(n, success)
	return success, true
}

func (r *Runner) leave(n *node, success bool) {
	if r.obs != nil {
		r.obs.Leave(&n.info, r.ev, success)
	}
}

// body is what a node does once its filter held: whitelist, grok, stash,
// sub-nodes, statics, next stage (FIDELITY 3, 6).
func (r *Runner) body(n *node) bool {
	listed := false
	if n.whitelist != nil {
		listed = r.whitelist(n)
	}
	state, grokHeld := true, false
	if n.grok != nil {
		state = r.grok(n)
		if r.abortReason != "" {
			return false
		}
		grokHeld = state
	}
	if n.grok == nil || grokHeld {
		r.stash(n)
	}
	for _, child := range n.children {
		held, _ := r.node(child)
		if r.abortReason != "" {
			return false
		}
		if held {
			state = true
			if n.next {
				break // the first child that succeeds decides
			}
		} else if !grokHeld {
			state = false
		}
	}
	if !state {
		if len(n.statics) > 0 {
			r.observe(n, Observation{Kind: StaticsSkipped})
		}
		return false
	}
	if n.whitelist != nil && !listed {
		if len(n.statics) > 0 {
			r.observe(n, Observation{Kind: StaticsSkipped})
		}
	} else if !r.statics(n, n.statics) {
		return false
	}
	if n.next {
		r.moveOn(n)
	}
	return true
}

// whitelist checks a node's whitelist and marks the event.
func (r *Runner) whitelist(n *node) bool {
	w := n.whitelist
	hit := false
	if len(w.addrs)+len(w.prefixes) > 0 {
		hit = r.listed(w)
	}
	for i := 0; i < len(w.expressions) && !hit; i++ {
		held, err := w.expressions[i].Bool(r.ctx)
		if err != nil { // one that fails ends the check: the event is not whitelisted
			r.Stats.FilterErrors++
			r.observe(n, Observation{Kind: Problem, Text: "whitelist", Err: err})
			break
		}
		hit = held
	}
	if !hit {
		r.observe(n, Observation{Kind: WhitelistMiss})
		return false
	}
	if ev := r.ev; !ev.Whitelisted {
		ev.Whitelisted = true
		ev.Set(pipeline.SlotWhitelistReason, w.reason)
		if ev.Type == pipeline.OverflowEvent && ev.Overflow != nil {
			ev.Overflow.Whitelisted = true
		}
	}
	r.observe(n, Observation{Kind: WhitelistHit, Value: w.reason})
	return true
}

// listed looks the event's source up, or the sources of an alert.
func (r *Runner) listed(w *whitelist) bool {
	if r.ev.Type == pipeline.OverflowEvent {
		if r.ev.Overflow == nil {
			return false
		}
		for source := range r.ev.Overflow.Sources {
			if addr, err := netip.ParseAddr(source); err == nil && w.holds(addr) {
				return true
			}
		}
		return false
	}
	ip := r.ev.Get(r.sourceIP)
	if ip == "" {
		return false
	}
	if ip != r.sourceText { // most rule sets have several whitelists
		addr, err := netip.ParseAddr(ip)
		r.sourceText, r.source, r.sourceOK = ip, addr, err == nil
	}
	return r.sourceOK && w.holds(r.source)
}

func (w *whitelist) holds(addr netip.Addr) bool {
	for _, a := range w.addrs {
		if a == addr {
			return true
		}
	}
	for _, p := range w.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// grok matches a node's pattern, writes its captures and runs its statics.
func (r *Runner) grok(n *node) bool {
	g := n.grok
	var text string
	switch {
	case g.value != nil:
		var err error
		if text, _, err = g.value.Text(r.ctx); err != nil {
			r.Stats.StaticErrors++
			r.observe(n, Observation{Kind: GrokFailed, Text: g.text, Err: err})
			return false
		}
	case !g.always && !r.ev.Has(g.from):
		r.observe(n, Observation{Kind: GrokFailed, Text: g.text})
		return false
	default:
		text = r.ev.Get(g.from)
	}
	captures := r.captures[:len(g.slots)]
	var held bool
	if g.plain != nil {
		held = g.plain.Match(text, captures)
	} else {
		held = g.pattern.Match(text, captures, &r.scratch)
	}
	if !held || len(captures) == 0 { // without a named capture it never succeeds (FIDELITY 4)
		r.observe(n, Observation{Kind: GrokFailed, Text: g.text})
		return false
	}
	r.observe(n, Observation{Kind: GrokMatched, Text: g.text})
	for i, slot := range g.slots {
		r.ev.Set(slot, captures[i])
		if r.obs != nil {
			r.observe(n, Observation{Kind: Wrote, Field: r.ev.Schema().Field(slot).String(), Value: captures[i], Text: "grok"})
		}
	}
	return r.statics(n, g.statics)
}

// stash stores what a node remembers. Only strings are: anything else is passed over.
func (r *Runner) stash(n *node) {
	for i := range n.stashes {
		s := &n.stashes[i]
		v, err := s.value.Eval(r.ctx)
		value, isText := v.(string)
		if err != nil || !isText {
			r.stashProblem(n, s, err)
			continue
		}
		k, err := s.key.Eval(r.ctx)
		key, isText := k.(string)
		if err != nil || !isText {
			r.stashProblem(n, s, err)
			continue
		}
		if r.ctx.Stash == nil {
			continue
		}
		if err := r.ctx.Stash.Set(s.name, key, value, s.ttl); err != nil {
			r.stashProblem(n, s, err)
			continue
		}
		r.observe(n, Observation{Kind: Stashed, Text: s.name, Field: key, Value: value})
	}
}

func (r *Runner) stashProblem(n *node, s *stash, err error) {
	r.Stats.StaticErrors++
	r.observe(n, Observation{Kind: Problem, Text: "stash " + s.name, Err: err})
}

// statics writes fields, in order. It is false when one aborted the event.
func (r *Runner) statics(n *node, list []static) bool {
	for i := range list {
		if !r.static(n, &list[i]) {
			return false
		}
	}
	return true
}

func (r *Runner) static(n *node, s *static) bool {
	value := s.value
	if s.program != nil {
		var write bool
		var err error
		value, write, err = s.program.Text(r.ctx)
		if err != nil {
			return r.staticFailed(n, s, err)
		}
		if !write {
			value = ""
		}
	}
	if s.isCall {
		r.call(n, s, value)
		return true
	}
	if value == "" {
		return true
	}
	s.write(r, r.ev, value)
	r.observe(n, Observation{Kind: Wrote, Field: s.text, Value: value, Text: s.by})
	return true
}

// staticFailed tells an expression that failed, which writes nothing, from
// one that gave a type that cannot be written, which ends the event (FIDELITY 7).
func (r *Runner) staticFailed(n *node, s *static, err error) bool {
	r.Stats.StaticErrors++
	if !s.program.Analysis().Writes {
		if _, again := s.program.Eval(r.ctx); again == nil {
			r.abortReason, r.abortErr = s.abortReason, err
			r.observe(n, Observation{Kind: EventAborted, Field: s.text, Err: err})
			return false
		}
	}
	r.observe(n, Observation{Kind: Problem, Field: s.text, Text: s.by, Err: err})
	return true
}
