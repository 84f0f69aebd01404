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
}

func newARC(size int) *arc { return &arc{size: size, places: make(map[string]*list.Element)} }

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
		dropped = a.makeRoom(gone.list == oftenGone)
		a.insert(e, often)
		return dropped
	}
	recent := a.lists[once].Len() + a.lists[onceGone].Len()
	switch total := recent + a.lists[often].Len() + a.lists[oftenGone].Len(); {
	case recent >= a.size && a.lists[once].Len() >= a.size:
		dropped = a.lists[once].Back().Value.(*stashEntry)
		a.drop(dropped)
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
	e.list = to
	a.places[e.key] = a.lists[to].PushFront(e)
}

func (a *arc) drop(e *stashEntry) {
	a.lists[e.list].Remove(a.places[e.key])
	delete(a.places, e.key)
}

func (a *arc) dropLast(l arcList) {
	if last := a.lists[l].Back(); last != nil {
		a.drop(last.Value.(*stashEntry))
	}
}

func (a *arc) save(into *StashState) {
	into.Target = a.target
	for l := range numArcLists {
		for at := a.lists[l].Back(); at != nil; at = at.Prev() {
			e := at.Value.(*stashEntry)
			into.Entries = append(into.Entries, StashEntry{
				Key: e.key, Value: e.value, Deadline: e.deadline, Uses: e.uses, List: arcNames[l],
			})
		}
	}
}

func (a *arc) load(from *StashState, entries map[string]*stashEntry) {
	a.target = min(from.Target, a.size)
	for _, s := range from.Entries {
		e := &stashEntry{key: s.Key, value: s.Value, deadline: s.Deadline, uses: s.Uses}
		to := once
		for l, name := range arcNames {
			if name == s.List {
				to = arcList(l)
			}
		}
		a.insert(e, to)
		if to <= often {
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
