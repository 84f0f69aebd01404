package detect

import (
	"math"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// conditionsHold tells whether condition or bayesian makes a bucket overflow.
// An expression that fails does not, and is counted.
func (s *Shard) conditionsHold(b *bucket, doc *document, ev *pipeline.Kept) bool {
	if doc.condition != nil && s.holds(b, doc, doc.condition, ev) {
		return true
	}
	return doc.bayes != nil && s.isEvil(b, doc, ev)
}

func (s *Shard) holds(b *bucket, doc *document, p *queueProgram, ev *pipeline.Kept) bool {
	ok, err := p.Bool(s.environment(b, doc, p, ev))
	if err != nil {
		s.stats.ConditionErrors++
	}
	return ok && err == nil
}

// isEvil weighs the bayesian conditions, beginning at the prior at each
// event (FIDELITY 20). A condition that fails takes no part.
func (s *Shard) isEvil(b *bucket, doc *document, ev *pipeline.Kept) bool {
	posterior := doc.prior
	for i := range doc.bayes {
		c := &doc.bayes[i]
		held := c.guillotine && b.held(i)
		if !held {
			var err error
			if held, err = c.program.Bool(s.environment(b, doc, c.program, ev)); err != nil {
				s.stats.ConditionErrors++
				continue
			}
			if held && c.guillotine {
				b.hold(i, len(doc.bayes))
			}
		}
		if held {
			posterior = bayes(posterior, c.evil, c.benign)
		} else {
			posterior = bayes(posterior, 1-c.evil, 1-c.benign)
		}
	}
	return posterior > doc.threshold
}

// bayes is Bayes' rule. Its conversions forbid fused operations: every
// architecture rounds alike.
func bayes(prior, evil, benign float32) float32 {
	n := float32(evil * prior)
	return n / (n + float32(benign*(1-prior)))
}

func (b *bucket) held(i int) bool { return b.extra != nil && b.extra.held != nil && b.extra.held[i] }

func (b *bucket) hold(i, n int) {
	if x := b.more(); x.held == nil {
		x.held = make([]bool, n)
	}
	b.extra.held[i] = true
}

// environment makes what an expression may name; it is valid until the next call.
func (s *Shard) environment(b *bucket, doc *document, p *queueProgram, ev *pipeline.Kept) *expression.QueueEnv {
	s.env = expression.QueueEnv{
		Leaky: expression.LeakyView{
			Name: doc.name, Mapkey: b.key, Total_count: int(b.count), Capacity: doc.capacity,
			First_ts: b.first.time(), Last_ts: b.last.time(),
		},
		Queue: expression.Queue{L: doc.keep - 1},
	}
	if doc.bounded {
		s.env.Queue.L = math.MaxInt
	}
	if p.queue {
		s.views = s.views[:0]
		for i := range b.queue {
			s.views = append(s.views, b.event(i).View())
		}
		s.env.Queue.Queue = s.views
	}
	if p.evt {
		s.env.Evt = s.view(ev)
	}
	return &s.env
}

// view returns an event's view, made once for all expressions that ask in a
// row. It is made of a copy: the event itself may be in other shards' hands,
// and a bucket's event would hold on to it.
func (s *Shard) view(ev *pipeline.Kept) *pipeline.View {
	if s.viewed != ev {
		c := *ev
		s.viewed, s.lastView = ev, c.View()
	}
	return s.lastView
}
