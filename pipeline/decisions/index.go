package decisions

import (
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/gaissmai/bart"
)

// Index holds decisions. Any goroutine may use it. The zero value is empty.
type Index struct {
	mu    sync.RWMutex
	slots slots
	texts texts

	// What a value is looked up by; each leads to the newest decision of the
	// value, and slot.next to the older ones.
	addrs  map[[16]byte]ref
	ranges bart.Table[ref]
	values map[valueKey]ref

	due   map[int64][]ref // by the second in which they end; those that ended before are passed over
	times seconds         // the seconds of due, the next first

	seq    int64    // of the last change
	log    []change // the latest changes, with consecutive numbers up to seq
	active int
}

type valueKey struct{ scope, value text }

// change is an entry of the log. The slot of a removal is kept as long as its
// entry is; that of an addition may be gone and used again, which its id tells.
type change struct {
	ref ref
	why Why
}

// Len returns how many decisions there are, those that have ended but were
// not yet expired among them.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.active
}

// Seq returns the number of the last change.
func (x *Index) Seq() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.seq
}

// Add adds a canonical decision as the next change and returns its id.
func (x *Index) Add(d *Decision) (int64, error) {
	c, err := Canonical(*d)
	if err != nil {
		return 0, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c.ID = x.seq + 1
	r := x.insert(&c)
	x.note(change{r, Added})
	return c.ID, nil
}

// Restore fills an empty index with what was known of an earlier one: the
// decisions in force, the removals behind a number, and the number of the last
// change. Bouncers that stand at that number or behind it go on from there.
func (x *Index) Restore(inForce []Decision, removals []Change, behind, last int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seq != 0 {
		return errors.New("decisions are restored into an index that has some")
	}
	x.seq, x.log = last, make([]change, last-behind)
	for i := range inForce {
		c, err := Canonical(inForce[i])
		if err != nil {
			return fmt.Errorf("decision %d: %w", c.ID, err)
		}
		if r := x.insert(&c); c.ID > behind && c.ID <= last {
			x.log[c.ID-behind-1] = change{r, Added}
		}
	}
	for i := range removals {
		c, err := Canonical(removals[i].Decision)
		if err != nil || removals[i].Seq <= behind || removals[i].Seq > last {
			continue // it tells nobody anything
		}
		r := x.insert(&c)
		x.unlink(r)
		x.slots.at(r).gone = removals[i].Why
		x.active--
		x.log[removals[i].Seq-behind-1] = change{r, removals[i].Why}
	}
	return nil
}

func (x *Index) note(c change) {
	x.seq++
	x.log = append(x.log, c)
}

func (x *Index) insert(d *Decision) ref {
	if x.addrs == nil {
		x.addrs, x.values, x.due = make(map[[16]byte]ref), make(map[valueKey]ref), make(map[int64][]ref)
	}
	r := x.slots.new()
	s := x.slots.at(r)
	*s = slot{
		id: d.ID, alert: d.Alert, until: d.Until.Unix(), uuid: d.UUID, simulated: d.Simulated,
		scope: x.texts.use(d.Scope), typ: x.texts.use(d.Type), origin: x.texts.use(d.Origin), scenario: x.texts.use(d.Scenario),
	}
	switch d.Scope {
	case ScopeIP, ScopeRange:
		p, _ := ParsePrefix(d.Value) // it is canonical
		s.setPrefix(p)
	default:
		s.value = x.texts.use(d.Value)
	}
	s.next = x.head(s)
	x.setHead(s, r)
	if _, ok := x.due[s.until]; !ok {
		heap.Push(&x.times, s.until)
	}
	x.due[s.until] = append(x.due[s.until], r)
	x.active++
	return r
}

// head returns the newest decision of a slot's value.
func (x *Index) head(s *slot) ref {
	switch x.texts.get(s.scope) {
	case ScopeIP:
		return x.addrs[s.addr]
	case ScopeRange:
		r, _ := x.ranges.Get(s.prefix())
		return r
	}
	return x.values[valueKey{s.scope, s.value}]
}

func (x *Index) setHead(s *slot, r ref) {
	switch x.texts.get(s.scope) {
	case ScopeIP:
		if r == 0 {
			delete(x.addrs, s.addr)
		} else {
			x.addrs[s.addr] = r
		}
	case ScopeRange:
		if r == 0 {
			x.ranges.Delete(s.prefix())
		} else {
			x.ranges.Insert(s.prefix(), r)
		}
	default:
		key := valueKey{s.scope, s.value}
		if r == 0 {
			delete(x.values, key)
		} else {
			x.values[key] = r
		}
	}
}

// unlink takes a slot out of its value's list. The slot itself stays, for the log.
func (x *Index) unlink(r ref) {
	s := x.slots.at(r)
	if head := x.head(s); head == r {
		x.setHead(s, s.next)
	} else {
		for at := head; at != 0; at = x.slots.at(at).next {
			if before := x.slots.at(at); before.next == r {
				before.next = s.next
				break
			}
		}
	}
	s.next = 0
}

// remove must be called with the lock held, for a slot in force.
func (x *Index) remove(r ref, why Why) Change {
	x.unlink(r)
	s := x.slots.at(r)
	s.gone = why
	x.active--
	x.note(change{r, why})
	return Change{Seq: x.seq, Why: why, Decision: x.decision(s)}
}

// Remove removes the decisions that a filter selects, and returns the removals.
func (x *Index) Remove(f *Filter, why Why, now time.Time) []Change {
	x.mu.Lock()
	defer x.mu.Unlock()
	var refs []ref
	x.each(f, now, func(r ref) bool { refs = append(refs, r); return true })
	gone := make([]Change, len(refs))
	for i, r := range refs {
		gone[i] = x.remove(r, why)
	}
	return gone
}

// Expire removes decisions that have ended by now, at most limit of them, and
// returns the removals; it is to be called again while it returns as many.
// The limit bounds how long others wait.
func (x *Index) Expire(now time.Time, limit int) []Change {
	x.mu.Lock()
	defer x.mu.Unlock()
	var gone []Change
	for len(x.times) > 0 && x.times[0] <= now.Unix() {
		second := x.times[0]
		refs := x.due[second]
		for len(refs) > 0 && len(gone) < limit {
			r := refs[len(refs)-1]
			refs = refs[:len(refs)-1]
			if s := x.slots.at(r); s.id != 0 && s.gone == Added && s.until == second {
				gone = append(gone, x.remove(r, Expired))
			}
		}
		if x.due[second] = refs; len(refs) > 0 {
			return gone
		}
		delete(x.due, second)
		heap.Pop(&x.times)
	}
	return gone
}

// NextEnd returns when the next decision ends, false without any.
func (x *Index) NextEnd() (time.Time, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.times) == 0 {
		return time.Time{}, false
	}
	return time.Unix(x.times[0], 0).UTC(), true
}

// Covering calls yield with the decisions in force on an address, its own
// first, then those on ranges around it, the smallest first. It holds a lock:
// yield must not call the index.
func (x *Index) Covering(a netip.Addr, now time.Time, yield func(d *Decision) bool) {
	a = a.Unmap()
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := func(r ref) bool {
		for ; r != 0; r = x.slots.at(r).next {
			if s := x.slots.at(r); s.until > now.Unix() {
				if d := x.decision(s); !yield(&d) {
					return false
				}
			}
		}
		return true
	}
	if !list(x.addrs[a.As16()]) || x.ranges.Size() == 0 {
		return
	}
	for _, r := range x.ranges.Supernets(netip.PrefixFrom(a, a.BitLen())) {
		if !list(r) {
			return
		}
	}
}

// seconds is a heap.
type seconds []int64

func (h seconds) Len() int           { return len(h) }
func (h seconds) Less(i, j int) bool { return h[i] < h[j] }
func (h seconds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *seconds) Push(v any)        { *h = append(*h, v.(int64)) }
func (h *seconds) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}
