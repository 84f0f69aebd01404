package parse

import "container/list"

// arcList is one of the lists of an ARC.
type arcList uint8

const (
	once      arcList = iota // entries used once
	often                    // entries used again
	onceGone                 // keys lately dropped from once
	oftenGone                // keys lately dropped from often
	numArcLists
)

var arcNames = [numArcLists]string{"once", "often", "once-gone", "often-gone"}

// arc is the adaptive replacement cache of Megiddo and Modha: it balances
// recency against frequency by what it had to forget too early. In each list
// the front was used last.
type arc struct {
	size   int
	target int // the size that once should have
	lists  [numArcLists]list.List
	places map[string]*list.Element // of entries and of forgotten keys
	// clock counts what came into a list: entries keep it, so that the order of
	// a list can be written down.
	clock   uint64
	changes *stashChanges
}

func newARC(size int, changes *stashChanges) *arc {
	return &arc{size: size, places: make(map[string]*list.Element), changes: changes}
}

func (a *arc) use(e *stashEntry) {
	e.uses++
	a.move(e, often)
}

func (a *arc) add(e *stashEntry) (dropped *stashEntry) {
	if place, ok := a.places[e.key]; ok { // forgotten too early: learn from it
		gone := place.Value.(*stashEntry)
		n1, n2 := a.lists[onceGone].Len(), a.lists[oftenGone].Len()
		if gone.list == onceGone {
			a.target = min(a.size, a.target+max(1, n2/n1))
		} else {
			a.target = max(0, a.target-max(1, n1/n2))
		}
		a.drop(gone)
		a.changes.left(gone)
		dropped = a.makeRoom(gone.list == oftenGone)
		a.insert(e, often)
		return dropped
	}
	recent := a.lists[once].Len() + a.lists[onceGone].Len()
	switch total := recent + a.lists[often].Len() + a.lists[oftenGone].Len(); {
	case recent >= a.size && a.lists[once].Len() >= a.size:
		dropped = a.lists[once].Back().Value.(*stashEntry)
		a.drop(dropped)
		a.changes.left(dropped)
	case recent >= a.size:
		a.dropLast(onceGone)
		dropped = a.makeRoom(false)
	default:
		if total >= 2*a.size {
			a.dropLast(oftenGone)
		}
		dropped = a.makeRoom(false)
	}
	a.insert(e, once)
	return dropped
}

// makeRoom forgets the value of one entry when the cache is full, and keeps its key.
func (a *arc) makeRoom(wasOften bool) *stashEntry {
	n := a.lists[once].Len()
	if n+a.lists[often].Len() < a.size {
		return nil
	}
	from, to := often, oftenGone
	if n > 0 && (n > a.target || wasOften && n == a.target || a.lists[often].Len() == 0) {
		from, to = once, onceGone
	}
	e := a.lists[from].Back().Value.(*stashEntry)
	e.value = ""
	a.move(e, to)
	return e
}

func (a *arc) remove(e *stashEntry) { a.drop(e) }

func (a *arc) move(e *stashEntry, to arcList) {
	a.drop(e)
	a.insert(e, to)
}

func (a *arc) insert(e *stashEntry, to arcList) {
	a.clock++
	e.list, e.last = to, a.clock
	a.places[e.key] = a.lists[to].PushFront(e)
	a.changes.mark(e)
}

func (a *arc) drop(e *stashEntry) {
	a.lists[e.list].Remove(a.places[e.key])
	delete(a.places, e.key)
}

func (a *arc) dropLast(l arcList) {
	if last := a.lists[l].Back(); last != nil {
		e := last.Value.(*stashEntry)
		a.drop(e)
		a.changes.left(e)
	}
}

func (a *arc) all(target *int) []*stashEntry {
	*target = a.target
	var out []*stashEntry
	for l := range numArcLists {
		for at := a.lists[l].Back(); at != nil; at = at.Prev() {
			out = append(out, at.Value.(*stashEntry))
		}
	}
	return out
}

func (a *arc) load(from []*stashEntry, target int, entries map[string]*stashEntry) {
	a.target = min(target, a.size)
	for _, e := range from {
		a.clock = max(a.clock, e.last)
		a.places[e.key] = a.lists[e.list].PushFront(e)
		if e.list <= often {
			entries[e.key] = e
		}
	}
	for a.lists[once].Len()+a.lists[often].Len() > a.size {
		delete(entries, a.makeRoom(false).key)
	}
	for l := onceGone; l <= oftenGone; l++ {
		for a.lists[l].Len() > a.size {
			a.dropLast(l)
		}
	}
}
