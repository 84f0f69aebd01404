package detect

import (
	"slices"
	"strings"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// bucketKey is a bucket's identity: scenario name and filter, and the groupby value.
type bucketKey struct {
	group int32
	key   string
}

// place is a position in a partition that the shard knows by number.
type place struct {
	offset    int64
	partition int32
	line      int32
}

// bucket counts what poured since its birth. Only its shard touches it.
type bucket struct {
	key         string
	born        uint64 // tells it from other buckets of its key
	doc         int32  // the document whose pour made it
	count       int32  // pours since birth
	limiter     limiter
	first, last int64 // event times, nanoseconds since 1970
	from, to    place // of the first and the last pour
	queue       []*pipeline.Kept
	scopes      []string // parallel to queue where the document has a scope expression
	distinct    map[string]struct{}
	guillotine  uint64 // bayesian conditions that hold for good, by bit
}

// expired tells whether an event at time t finds the bucket dead (FIDELITY 15).
func (b *bucket) expired(doc *document, t int64) bool {
	if b.count == 0 {
		return false
	}
	if doc.timed() {
		return t > plus(b.first, doc.life)
	}
	return t > plus(b.last, doc.life)
}

// timed tells whether the document's buckets overflow when their time is up.
func (d *document) timed() bool { return d.kind == counter }

// keep adds an event to the queue; the oldest goes when there is no room.
func (b *bucket) keep(doc *document, ev *pipeline.Kept, scope string) {
	if doc.room >= 0 && len(b.queue) > doc.room {
		b.queue = slices.Delete(b.queue, 0, 1)
		if doc.scope {
			b.scopes = slices.Delete(b.scopes, 0, 1)
		}
	}
	b.queue = append(b.queue, ev)
	if doc.scope {
		b.scopes = append(b.scopes, strings.Clone(scope))
	}
}

// env is what the bucket's expressions see.
func (b *bucket) env(doc *document, ev *pipeline.Kept) *expression.QueueEnv {
	e := &expression.QueueEnv{
		Queue: expression.Queue{Queue: make([]*pipeline.View, len(b.queue)), L: doc.room},
		Leaky: expression.LeakyView{
			Name: doc.name, Mapkey: b.key, Total_count: int(b.count), Capacity: doc.capacity,
			First_ts: timeOf(b.first), Last_ts: timeOf(b.last),
		},
		Evt: ev.View(),
	}
	for i, k := range b.queue {
		e.Queue.Queue[i] = k.View()
	}
	return e
}

// evil evaluates the bayesian conditions and tells whether the bucket
// overflows. The probability begins at the prior at each event (FIDELITY 20).
func (b *bucket) evil(doc *document, env *expression.QueueEnv, failed func(error)) bool {
	p := doc.prior
	for i := range doc.bayes {
		c := &doc.bayes[i]
		held := c.guillotine && b.guillotine&(1<<(i%64)) != 0
		if !held {
			ok, err := c.program.Bool(env)
			if err != nil {
				failed(err)
				continue
			}
			if held = ok; ok {
				b.guillotine |= 1 << (i % 64)
			}
		}
		if held {
			p = update(p, c.evil, c.benign)
		} else {
			p = update(p, 1-c.evil, 1-c.benign)
		}
	}
	return p > doc.threshold
}

// update is Bayes' rule.
func update(prior, evil, benign float32) float32 {
	n := evil * prior
	return n / (n + benign*(1-prior))
}
