package detect

import (
	"strings"

	"sluice/pipeline"
)

// pour applies one pour. The order of what is looked at is FIDELITY 19's.
func (s *Shard) pour(p *pipeline.Pour) {
	doc := &s.docs[p.Scenario]
	switch {
	case doc.broken:
		s.stats.Broken++
		return
	case p.Failed:
		s.stats.Failed++
		return
	}
	now := s.timeOf(p.Event)
	if doc.instant {
		s.trigger(doc, p, now)
		return
	}
	if s.opts.DatedOnly && doc.kind != trigger && !p.Event.Has(pipeline.SlotMarshaledTime) {
		s.stats.Undated++
		return
	}
	r := s.index[bucketKey{doc.group, p.Key}]
	if r < 0 {
		if r = s.warm(coldRef(-r), now); s.err != nil {
			return
		}
	}
	if r != 0 {
		r = s.outlive(r, p, now)
	}
	from := p
	if r == 0 {
		if doc.kind == trigger {
			s.trigger(doc, p, now)
			return
		}
		if doc.cancel && p.Cancel { // it would be killed at once
			s.stats.Canceled++
			return
		}
		r = s.create(doc, p)
	} else if maker := s.slab.at(r).doc; maker != p.Scenario {
		from = s.asSeenBy(maker, p)
	}
	s.fill(r, p, from, now)
}

// fill pours an event into a bucket that lives. from is the pour of the
// bucket's own document for the same event, which has the values of its expressions.
func (s *Shard) fill(r ref, p, from *pipeline.Pour, now instant) {
	b := s.slab.at(r)
	doc := &s.docs[b.doc]
	if doc.distinct && b.more().distinct.has(from.Distinct) {
		s.stats.Duplicates++
		return
	}
	if doc.cancel && from.Cancel {
		s.stats.Canceled++
		s.remove(r)
		return
	}
	s.touch(r, b)
	if doc.distinct {
		s.remember(b, from.Distinct)
	}
	s.stats.Poured++
	b.count++
	b.last, b.to = now, s.place(p.Event.Position)
	if b.count == 1 {
		b.first, b.from = b.last, b.to
	}
	full := doc.limited && !b.limiter.allow(doc.rate, now)
	if full && s.muted(b.doc, doc, b.key, now) {
		s.stats.Muted++
		s.remove(r)
		return
	}
	if s.cold != nil {
		b.used = true
		s.weighPour(b, doc, from, p.Event)
	}
	if doc.scope {
		b.more()
		b.pushScope(from.Scope, doc.keep)
	}
	if b.push(s.own(p.Event), doc.keep) && doc.bounded {
		s.stats.QueueFull++
	}
	s.watch(r, b, doc)
	if full || s.conditionsHold(b, doc, p.Event) {
		s.overflow(b, p.Event.Position, p.Line, now)
		s.remove(r)
	}
}

// outlive returns the bucket if it is still alive for an event at now, and 0
// if not. A timed bucket whose time is up overflows; its cause is the pour.
func (s *Shard) outlive(r ref, p *pipeline.Pour, now instant) ref {
	b := s.slab.at(r)
	doc := &s.docs[b.doc]
	switch {
	case doc.timed:
		deadline := s.deadline(b)
		if !now.after(deadline) {
			return r
		}
		s.overflow(b, p.Event.Position, p.Line, deadline)
	case now.after(b.last.add(doc.life)) || s.isPast(b.part, b.last.add(doc.life)):
		s.stats.Expired++
	default:
		return r
	}
	s.remove(r)
	return 0
}

// deadline is when a timed bucket overflows.
func (s *Shard) deadline(b *bucket) instant { return b.first.add(s.docs[b.doc].life) }

func (s *Shard) create(doc *document, p *pipeline.Pour) ref {
	r := s.slab.alloc()
	b := s.slab.at(r)
	b.key, b.group, b.doc, b.part = strings.Clone(p.Key), doc.group, p.Scenario, s.cur
	if doc.limited {
		b.limiter.fill(doc.rate)
	}
	s.index[bucketKey{b.group, b.key}] = r
	if s.cold != nil {
		s.cold.bytes += bucketBytes + int64(len(b.key))
	}
	return r
}

// remove forgets a bucket.
func (s *Shard) remove(r ref) {
	b := s.slab.at(r)
	s.unwatch(r, b)
	s.unsave(b)
	if s.cold != nil {
		s.unweigh(b)
	}
	delete(s.index, bucketKey{b.group, b.key})
	s.slab.release(r)
}

// asSeenBy returns the pour of the same event that the given document of the
// same group made: the bucket runs that document's distinct, cancel_on and
// scope (FIDELITY 14). Where that document made none, such as in an alert
// that is poured again, it is the pour itself.
func (s *Shard) asSeenBy(doc int32, p *pipeline.Pour) *pipeline.Pour {
	for i := s.at - 1; i >= 0 && s.pours[i].Line == p.Line; i-- {
		if s.pours[i].Scenario == doc {
			return s.pours[i]
		}
	}
	for i := s.at + 1; i < len(s.pours) && s.pours[i].Line == p.Line; i++ {
		if s.pours[i].Scenario == doc {
			return s.pours[i]
		}
	}
	return p
}

// remember adds a value to the distinct ones of a bucket, if there is room.
func (s *Shard) remember(b *bucket, value string) {
	set := &b.extra.distinct
	if len(set.values) < s.lim.MaxDistinct {
		set.add(value)
		if s.cold != nil {
			s.weigh(b, distinctBytes+len(value))
		}
	} else {
		s.stats.DistinctFull++
	}
}

// own returns a copy of an event that outlives the batch. The buckets that
// keep one event share the copy.
func (s *Shard) own(ev *pipeline.Kept) *pipeline.Kept {
	if s.kept != ev {
		s.kept, s.owned = ev, ev.Own()
	}
	return s.owned
}
