package detect

import (
	"container/heap"

	"sluice/pipeline"
)

// freeAtLeast, and two more for each pour, is how many buckets one Apply looks
// at to free memory: more than the pours can make, and too few to be felt.
const freeAtLeast = 4096

// step moves the clock of the partition that feeds the shard, and fires the
// timed buckets whose deadline it passes. The step's record is their cause.
//
// They were due before the step: a blackhole that ends within it still mutes
// them, whether or not memory is freed. So the clock moves behind them.
func (s *Shard) step(step *pipeline.ClockStep) {
	p := s.parts[s.cur]
	clock := instantOf(step.Clock)
	limit := clock.add(-s.opts.Lateness)
	for len(p.timed.refs) > 0 {
		r := p.timed.refs[0]
		b := s.slab.at(r)
		deadline := s.deadline(b)
		if !limit.after(deadline) {
			break
		}
		s.overflow(b, step.Position, step.Line, deadline)
		s.remove(r)
	}
	p.clock, p.started = clock, true
}

// isPast tells whether the clock of a partition, less the lateness, has
// passed a time, so that what ended then may be gone from memory. It decides
// in the same way whether or not it is gone.
func (s *Shard) isPast(n int32, t instant) bool {
	p := s.parts[n]
	return s.opts.Free && p.started && p.clock.add(-s.opts.Lateness).after(t)
}

// watch ties a bucket, after a pour, to the clock of the partition that feeds it now.
func (s *Shard) watch(r ref, b *bucket, doc *document) {
	tied := b.timer.linked || b.timer.place != 0
	if tied && b.part == s.cur {
		return
	}
	if tied {
		s.unwatch(r, b)
	}
	b.part = s.cur
	switch {
	case doc.timed:
		heap.Push(&s.parts[b.part].timed, r)
	case s.opts.Free:
		s.parts[b.part].wheel.link(&s.slab, r, b.last.add(doc.life).sec)
	}
}

func (s *Shard) unwatch(r ref, b *bucket) {
	switch {
	case b.timer.linked:
		s.parts[b.part].wheel.unlink(&s.slab, r)
	case b.timer.place != 0:
		heap.Remove(&s.parts[b.part].timed, int(b.timer.place-1))
	}
}

// free gives back memory of what is dead by the clock of the partition that
// feeds the shard, looking at no more than so many places. It decides no outcome.
func (s *Shard) free(most int) {
	p := s.parts[s.cur]
	limit := p.clock.add(-s.opts.Lateness)
	for ; most > 0 && p.started; most-- {
		r := p.wheel.due(limit.sec)
		if r == 0 {
			break
		}
		b := s.slab.at(r)
		death := b.last.add(s.docs[b.doc].life)
		if limit.after(death) {
			s.stats.Freed++
			s.remove(r)
			continue
		}
		p.wheel.unlink(&s.slab, r)
		p.wheel.link(&s.slab, r, death.sec)
	}
	for ; most > 0 && len(p.holes) > 0 && limit.after(p.holes[0].at); most-- {
		end := heap.Pop(&p.holes).(holeEnd)
		if h := s.holes[end.key]; h.until == end.at && h.part == s.cur {
			s.disarm(end.key, h)
		}
	}
}
