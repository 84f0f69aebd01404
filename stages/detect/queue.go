package detect

import (
	"strings"

	"sluice/pipeline"
)

// push adds an event that the bucket owns to its queue. The oldest leaves
// when there is no room, and push tells so.
func (b *bucket) push(ev *pipeline.Kept, keep int) (full bool) {
	if len(b.queue) < keep {
		if b.queue == nil {
			b.queue = make([]*pipeline.Kept, 0, 1) // many buckets never see a second event
		}
		b.queue = append(b.queue, ev)
		return false
	}
	b.queue[b.head] = ev
	if b.head++; int(b.head) == keep {
		b.head = 0
	}
	return true
}

// pushScope does for the scopes what push, which comes after it, does for the events.
func (b *bucket) pushScope(value string, keep int) {
	value = strings.Clone(value)
	if len(b.extra.scopes) < keep {
		b.extra.scopes = append(b.extra.scopes, value)
		return
	}
	b.extra.scopes[b.head] = value
}

// event returns the i-th oldest event of the queue.
func (b *bucket) event(i int) *pipeline.Kept { return b.queue[b.turn(i)] }

func (b *bucket) turn(i int) int {
	if i += int(b.head); i >= len(b.queue) {
		i -= len(b.queue)
	}
	return i
}

// events returns copies of the queue's events, oldest first: values that no
// other bucket has, since an event caches its view and whoever gets an
// overflow may be another goroutine. The fields, which nobody changes, are shared.
func (b *bucket) events() []*pipeline.Kept {
	copies := make([]pipeline.Kept, len(b.queue))
	out := make([]*pipeline.Kept, len(b.queue))
	for i := range out {
		copies[i] = *b.event(i)
		out[i] = &copies[i]
	}
	return out
}

// scopesOf returns the scopes of the queue's events, oldest first.
func (b *bucket) scopesOf() []string {
	out := make([]string, len(b.queue))
	if b.extra != nil && b.extra.scopes != nil {
		for i := range out {
			out[i] = b.extra.scopes[b.turn(i)]
		}
	}
	return out
}

// more returns the bucket's extra state, making it first if need be.
func (b *bucket) more() *extra {
	if b.extra == nil {
		b.extra = &extra{}
	}
	return b.extra
}

// distinctSet holds the values of a distinct expression that a bucket has
// seen: a list while there are few, with an index beside it when there are many.
type distinctSet struct {
	values []string // in the order in which they came
	index  map[string]struct{}
}

const indexFrom = 16

func (d *distinctSet) has(value string) bool {
	if d.index != nil {
		_, ok := d.index[value]
		return ok
	}
	for _, v := range d.values {
		if v == value {
			return true
		}
	}
	return false
}

// add remembers a copy of a value that is not in the set.
func (d *distinctSet) add(value string) {
	value = strings.Clone(value)
	d.values = append(d.values, value)
	if d.index == nil && len(d.values) >= indexFrom {
		d.index = make(map[string]struct{}, 2*indexFrom)
		for _, v := range d.values {
			d.index[v] = struct{}{}
		}
	} else if d.index != nil {
		d.index[value] = struct{}{}
	}
}
