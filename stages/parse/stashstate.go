package parse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// Stashes are written into the state store entry by entry, as they change.
// The keys of their records are, behind the kind and the partition's number:
//
//	0                  the clock
//	n 0                what stash n as a whole has: an ARC's target
//	n 1 and its key    an entry of stash n
//
// An entry's record holds when it was last used, by the count of its stash,
// so that the order in which entries make room survives.

// stashVersion is the first byte of every value.
const stashVersion = 1

const (
	partHead   = 0
	partEntry  = 1
	clockStash = 0 // no stash has the number 0
)

// stashChanges are the entries of a stash to be written and to be deleted.
type stashChanges struct {
	on      bool
	changed []*stashEntry
	gone    []goneEntry
}

type goneEntry struct {
	key string
	sum state.Sum
}

// mark says that an entry has changed.
func (c *stashChanges) mark(e *stashEntry) {
	if c.on && !e.changed {
		e.changed = true
		c.changed = append(c.changed, e)
	}
}

// left says that an entry is no more.
func (c *stashChanges) left(e *stashEntry) {
	if !c.on {
		return
	}
	if e.sum != 0 {
		c.gone = append(c.gone, goneEntry{e.key, e.sum})
		e.sum = 0
	}
	e.changed = false // what is listed and not marked is stale
}

// stashSaving is what Stashes know of their records.
type stashSaving struct {
	prefix  []byte // kind and partition
	stashes map[uint32]*savedStash
	clock   time.Time // in the store
	sum     state.Sum
	// waiting are entries that were loaded, until Loaded.
	waiting    map[uint32][]*stashEntry
	key, value []byte
}

// savedStash is what is saved of a stash as a whole.
type savedStash struct {
	*store
	name   string
	target int
	sum    state.Sum
	loaded int // the target that was loaded
}

// Durable makes Save write what changes from now on, under a partition's
// number in the dictionary. The stashes must be empty.
func (s *Stashes) Durable(dict *state.Dictionary, partition uint32) {
	v := &stashSaving{
		prefix:  binary.AppendUvarint([]byte{byte(state.KindStash)}, uint64(partition)),
		stashes: make(map[uint32]*savedStash), waiting: make(map[uint32][]*stashEntry),
	}
	for name, st := range s.stores {
		st.changes.on = true
		v.stashes[dict.Number(state.NumberStash, name)] = &savedStash{store: st, name: name}
	}
	s.saving = v
}

// Save writes what has changed since the last Save.
func (s *Stashes) Save(w *state.Writer) {
	v := s.saving
	if v == nil {
		return
	}
	if !s.clock.Equal(v.clock) {
		v.clock = s.clock
		v.value = pipeline.AppendTime(append(v.value[:0], stashVersion), s.clock.UTC(), 0)
		v.sum = w.Put(v.clockKey(), v.value, v.sum)
	}
	for number, st := range v.stashes {
		v.save(w, number, st)
	}
}

func (v *stashSaving) clockKey() []byte {
	v.key = append(append(v.key[:0], v.prefix...), clockStash)
	return v.key
}

func (v *stashSaving) stashKey(number uint32, part byte, own string) []byte {
	v.key = binary.AppendUvarint(append(v.key[:0], v.prefix...), uint64(number))
	v.key = append(append(v.key, part), own...)
	return v.key
}

func (v *stashSaving) save(w *state.Writer, number uint32, st *savedStash) {
	c := st.changes
	for _, g := range c.gone { // before the entries: a key may have come back
		w.Delete(v.stashKey(number, partEntry, g.key), g.sum)
	}
	for _, e := range c.changed {
		if e.changed {
			e.changed = false
			v.value = appendEntry(v.value[:0], e)
			e.sum = w.Put(v.stashKey(number, partEntry, e.key), v.value, e.sum)
		}
	}
	clear(c.gone)
	clear(c.changed)
	c.gone, c.changed = c.gone[:0], c.changed[:0]
	if a, ok := st.policy.(*arc); ok && a.target != st.target {
		st.target = a.target
		v.value = binary.AppendUvarint(append(v.value[:0], stashVersion), uint64(a.target))
		st.sum = w.Put(v.stashKey(number, partHead, ""), v.value, st.sum)
	}
}

// Forget deletes all records, for a partition that another process goes on
// with. The stashes are of no use afterwards.
func (s *Stashes) Forget(w *state.Writer) {
	v := s.saving
	if v == nil {
		return
	}
	w.Delete(v.clockKey(), v.sum)
	for number, st := range v.stashes {
		for _, e := range st.policy.all(new(int)) {
			st.changes.left(e)
		}
		for _, g := range st.changes.gone {
			w.Delete(v.stashKey(number, partEntry, g.key), g.sum)
		}
		w.Delete(v.stashKey(number, partHead, ""), st.sum)
	}
	*s = Stashes{clock: s.clock, stores: s.stores}
}

func appendEntry(to []byte, e *stashEntry) []byte {
	to = append(to, stashVersion, byte(e.list))
	to = binary.AppendUvarint(to, e.last)
	to = binary.AppendUvarint(to, e.uses)
	to = pipeline.AppendTime(to, e.deadline.UTC(), 0)
	return pipeline.AppendText(to, e.value)
}

func readEntry(key string, r *pipeline.StoredReader) (*stashEntry, error) {
	if r.Byte() != stashVersion {
		r.Fail(pipeline.ErrCut)
	}
	e := &stashEntry{key: key, list: arcList(r.Byte())}
	e.last, e.uses = r.Uvarint(), r.Uvarint()
	e.deadline, e.value = r.Time(0), r.Text()
	if e.list >= numArcLists {
		r.Fail(pipeline.ErrCut)
	}
	return e, r.End()
}

// StashPartition returns the number of the partition that a stash's record
// belongs to.
func StashPartition(key []byte) (number uint32, ok bool) {
	k, err := splitStashKey(key)
	return k.partition, err == nil
}

// stashKey is what the key of a record says.
type stashKey struct {
	partition, stash uint32 // numbers of the dictionary; stash is clockStash for the clock
	part             byte
	own              string
}

var errStashKey = errors.New("the key of a stash's record is none")

func splitStashKey(key []byte) (k stashKey, err error) {
	if len(key) == 0 || state.Kind(key[0]) != state.KindStash {
		return k, errStashKey
	}
	r := pipeline.NewStoredReader(key[1:])
	k.partition, k.stash = r.Number(), r.Number()
	if k.stash != clockStash {
		k.part = r.Byte()
		k.own = string(r.Rest())
	}
	if r.Err() != nil || k.partition == 0 || k.part > partEntry || k.part == partHead && k.own != "" {
		return k, errStashKey
	}
	return k, nil
}

// Load takes one record back, after Durable. It is not taken when the rules
// do not define its stash any more: the caller deletes it. After the last record comes Loaded.
func (s *Stashes) Load(key, value []byte, sum state.Sum) (taken bool, err error) {
	v := s.saving
	if v == nil {
		return false, errors.New("loading a stash that nobody saves")
	}
	k, err := splitStashKey(key)
	if err != nil {
		return false, err
	}
	st := v.stashes[k.stash]
	r := pipeline.NewStoredReader(value)
	switch {
	case k.stash == clockStash:
		if r.Byte() != stashVersion {
			r.Fail(pipeline.ErrCut)
		}
		v.clock, v.sum = r.Time(0), sum
		s.SetClock(v.clock)
		err = r.End()
	case st == nil:
		return false, nil
	case k.part == partHead:
		if r.Byte() != stashVersion {
			r.Fail(pipeline.ErrCut)
		}
		target := int(r.Int32())
		if _, ok := st.policy.(*arc); !ok {
			return false, r.End() // the strategy was another
		}
		st.loaded, st.target, st.sum = target, target, sum
		err = r.End()
	default:
		var e *stashEntry
		if e, err = readEntry(k.own, &r); err == nil {
			e.sum = sum
			v.waiting[k.stash] = append(v.waiting[k.stash], e)
		}
	}
	if err != nil {
		return false, fmt.Errorf("loading the record %q of a stash: %w", key, err)
	}
	return true, nil
}

// Loaded ends loading: the entries come in by their last use, and those
// beyond the size that the rules now give their stash leave.
func (s *Stashes) Loaded() {
	for number, entries := range s.saving.waiting {
		st := s.saving.stashes[number]
		slices.SortFunc(entries, byLast)
		st.policy.load(entries, st.loaded, st.entries)
	}
	s.saving.waiting = make(map[uint32][]*stashEntry)
}
