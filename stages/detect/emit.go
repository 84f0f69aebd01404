package detect

import (
	"container/heap"
	"strings"

	"sluice/pipeline"
)

// trigger handles the pour of a trigger that has no bucket to pour into: it
// overflows at once. Distinct, cancel_on and condition are ignored (FIDELITY 19).
func (s *Shard) trigger(doc *document, p *pipeline.Pour, now instant) {
	s.stats.Poured++
	if s.muted(p.Scenario, doc, p.Key, now) {
		s.stats.Muted++
		return
	}
	at := s.place(p.Event.Position)
	b := bucket{
		key: p.Key, doc: p.Scenario, group: doc.group, part: s.cur, count: 1,
		first: now, last: now, from: at, to: at,
		queue: []*pipeline.Kept{s.own(p.Event)},
	}
	if doc.scope {
		b.extra = &extra{scopes: []string{strings.Clone(p.Scope)}}
	}
	s.overflow(&b, p.Event.Position, p.Line, now)
}

// muted tells whether a document's blackhole swallows an overflow at a time.
// One that is muted does not prolong the blackhole.
func (s *Shard) muted(doc int32, d *document, key string, at instant) bool {
	if d.blackhole <= 0 || len(s.holes) == 0 {
		return false
	}
	h, armed := s.holes[holeKey{doc, key}]
	return armed && h.until.after(at) && !s.isPast(h.part, h.until)
}

// overflow emits a bucket's overflow, which happens at a time, unless the
// blackhole or the overflow_filter take it. The caller removes the bucket.
// The blackhole is asked first, for it is cheap; FIDELITY 19's order shows
// only in that an overflow which the filter dropped arms none.
func (s *Shard) overflow(b *bucket, cause pipeline.Position, line int32, at instant) {
	doc := &s.docs[b.doc]
	if s.muted(b.doc, doc, b.key, at) {
		s.stats.Muted++
		return
	}
	o := pipeline.Overflow{
		Scenario: b.doc, Key: strings.Clone(b.key),
		Cause: cause, Line: line,
		First: s.position(b.from), Last: s.position(b.to),
		FirstTime: b.first.time(), LastTime: b.last.time(),
		Count: b.count, Queue: b.events(), Scopes: b.scopesOf(),
	}
	if doc.overflowFilter != nil && !s.passes(b, doc, &o) {
		s.stats.Filtered++
		return
	}
	if doc.blackhole > 0 {
		s.arm(holeKey{b.doc, o.Key}, at.add(doc.blackhole))
	}
	o.Ordinal = s.ordinal(b.doc, o.Key, cause)
	s.stats.Overflows++
	s.out = append(s.out, o)
}

// passes runs the overflow_filter. One that fails lets the overflow pass, and is counted.
func (s *Shard) passes(b *bucket, doc *document, o *pipeline.Overflow) bool {
	p := doc.overflowFilter
	env := s.environment(b, doc, p, b.event(len(b.queue)-1))
	if p.signal {
		if s.lim.BuildSignal != nil {
			env.Signal = s.lim.BuildSignal(o)
		}
		if env.Signal == nil {
			env.Signal = &pipeline.RuntimeAlert{Mapkey: o.Key}
		}
	}
	ok, err := p.Bool(env)
	if err != nil {
		s.stats.FilterErrors++
	}
	return ok || err != nil
}

// arm begins a blackhole, or puts off the end of one.
func (s *Shard) arm(key holeKey, until instant) {
	h := hole{until: until, part: s.cur, sum: s.holes[key].sum}
	if s.saving != nil {
		h.sum = s.saveHole(key, h)
	}
	s.holes[key] = h
	if s.opts.Free {
		heap.Push(&s.parts[h.part].holes, holeEnd{h.until, key})
	}
}

// disarm forgets a blackhole.
func (s *Shard) disarm(key holeKey, h hole) {
	delete(s.holes, key)
	if s.saving != nil {
		s.saving.now.Delete(s.saving.holeKey(key), h.sum)
	}
}

// ordinal numbers the overflows of one document and key at one cause: keys
// are counted apart, so that numbers do not depend on who shares a shard.
func (s *Shard) ordinal(doc int32, key string, cause pipeline.Position) int32 {
	if s.ordered != cause {
		s.ordered = cause
		clear(s.ordinals)
	}
	k := holeKey{doc, key}
	n := s.ordinals[k]
	s.ordinals[k] = n + 1
	return n
}
