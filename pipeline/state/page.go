package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"
)

// Folded records lie in pages. A page holds the records of one slot whose
// hashes are from its start up to the start of the next page of that slot,
// ordered by hash and key, each with its Sum. What a page holds beyond its
// range is left over from a fold that was cut short, and counts for nothing.
const (
	pageBytes = 16 << 10 // raw size that splitting aims at
	pageSplit = 2 * pageBytes
)

// slotRange returns the first and the last hash of a slot.
func slotRange(slot int) (first, last uint64) {
	if slot == dictionarySlot {
		return 0, math.MaxUint64
	}
	first = uint64(slot) << (64 - slotBits)
	return first, first | (math.MaxUint64 >> slotBits)
}

// page is a page's place: it covers the hashes first..last of its slot.
type page struct {
	slot        int
	first, last uint64
	exists      bool // a page without records is not stored
	size        int64
}

// pageIndex knows where pages start. Whoever changes pages in Badger holds the
// lock until the index says so too.
type pageIndex struct {
	mu     sync.RWMutex
	starts [slots][]pageStart
	bytes  atomic.Int64    // of all pages; read without the lock
	stale  map[pageID]bool // pages that hold more than they cover
}

type pageStart struct {
	first uint64
	size  int64
}

type pageID struct {
	slot  int
	first uint64
}

// of lists the pages of a slot, in order, without gaps.
func (x *pageIndex) of(slot int) []page {
	first, end := slotRange(slot)
	starts := x.starts[slot]
	var pages []page
	if len(starts) == 0 || starts[0].first != first {
		pages = append(pages, page{slot: slot, first: first})
	}
	for _, p := range starts {
		pages = append(pages, page{slot: slot, first: p.first, exists: true, size: p.size})
	}
	for i := range pages {
		pages[i].last = end
		if i+1 < len(pages) {
			pages[i].last = pages[i+1].first - 1
		}
	}
	return pages
}

// find returns the page that covers a hash.
func (x *pageIndex) find(slot int, hash uint64) (first uint64, ok bool) {
	starts := x.starts[slot]
	i, found := slices.BinarySearchFunc(starts, hash, comparePages)
	if !found {
		i--
	}
	if i < 0 {
		return 0, false
	}
	return starts[i].first, true
}

// put says that a page exists with that size.
func (x *pageIndex) put(slot int, first uint64, size int64) {
	i, found := slices.BinarySearchFunc(x.starts[slot], first, comparePages)
	if found {
		x.bytes.Add(size - x.starts[slot][i].size)
		x.starts[slot][i].size = size
		return
	}
	x.bytes.Add(size)
	x.starts[slot] = slices.Insert(x.starts[slot], i, pageStart{first, size})
}

// remove says that a page is gone: its range is the page's before it.
func (x *pageIndex) remove(slot int, first uint64) {
	if i, found := slices.BinarySearchFunc(x.starts[slot], first, comparePages); found {
		x.bytes.Add(-x.starts[slot][i].size)
		x.starts[slot] = slices.Delete(x.starts[slot], i, i+1)
	}
}

// note takes a page in as a load finds it.
func (x *pageIndex) note(p page, stale bool) {
	if !p.exists {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(p.slot, p.first, p.size)
	if stale {
		if x.stale == nil {
			x.stale = make(map[pageID]bool)
		}
		x.stale[pageID{p.slot, p.first}] = true
	}
}

func comparePages(p pageStart, first uint64) int { return cmp.Compare(p.first, first) }

// record is a folded record; it aliases its page.
type record struct {
	key, value []byte
	sum        Sum
	hash       uint64
}

func appendRecord(b []byte, r record) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.key)))
	b = append(b, r.key...)
	b = binary.AppendUvarint(b, uint64(len(r.value)))
	b = append(b, r.value...)
	return binary.LittleEndian.AppendUint64(b, uint64(r.sum))
}

func nextRecord(raw []byte) (record, []byte, error) {
	r := reader{b: raw}
	var rec record
	rec.key, rec.value = r.bytes(), r.bytes()
	rec.sum = Sum(r.uint64())
	if r.bad || len(rec.key) == 0 {
		return record{}, nil, errTorn
	}
	return rec, r.b, nil
}

// errSum says that a record is not the one whose sum was stored with it.
var errSum = errors.New("a record's checksum is wrong")

// merge calls emit, in order, for the records of a page, as raw holds it,
// after the given changes; both are ordered. With check, each record that raw
// holds is compared with its sum. The records beyond the page's range are counted.
func merge(p page, raw []byte, ops []op, check bool, emit func(record) error) (stale int, err error) {
	put := func(o op) error {
		if o.deleted {
			return nil
		}
		return emit(record{key: o.key, value: o.value, sum: SumOf(o.key, o.value), hash: o.hash})
	}
	for len(raw) > 0 {
		var r record
		if r, raw, err = nextRecord(raw); err != nil {
			return 0, err
		}
		if r.hash = hashOf(r.key); r.hash < p.first || r.hash > p.last {
			stale++
			continue
		}
		for len(ops) > 0 && (ops[0].hash < r.hash || ops[0].hash == r.hash && bytes.Compare(ops[0].key, r.key) < 0) {
			if err := put(ops[0]); err != nil {
				return 0, err
			}
			ops = ops[1:]
		}
		if len(ops) > 0 && ops[0].hash == r.hash && bytes.Equal(ops[0].key, r.key) {
			if err := put(ops[0]); err != nil {
				return 0, err
			}
			ops = ops[1:]
			continue
		}
		if check && SumOf(r.key, r.value) != r.sum {
			return 0, errSum
		}
		if err := emit(r); err != nil {
			return 0, err
		}
	}
	for _, o := range ops {
		if err := put(o); err != nil {
			return 0, err
		}
	}
	return stale, nil
}

// damagedPage is a DamagedError about a page.
func (s *Store) damagedPage(slot int, first uint64, err error) error {
	return s.damaged(fmt.Sprintf("page %d/%016x", slot, first), "it cannot be read", err)
}

// readPage returns the raw records of a page, in buf if it has room.
func (s *Store) readPage(txn *badger.Txn, slot int, first uint64, buf []byte) (raw []byte, err error) {
	ok, err := s.view(txn, pageKey(slot, first), func(_ uint64, content []byte) (err error) {
		raw, err = unpack(buf, content)
		return err
	})
	if err == nil && !ok {
		err = errors.New("it is missing")
	}
	if err != nil {
		return nil, s.damagedPage(slot, first, err)
	}
	return raw, nil
}

// Get reads a record as of the last fold, appending its value to buf. A caller
// that knows the record to be there, by its Sum, takes ok false, or another
// Sum, for damage: Get itself cannot tell a record that is lost from one that never was.
func (s *Store) Get(key, buf []byte) (value []byte, sum Sum, ok bool, err error) {
	if err := s.enter(); err != nil {
		return buf, 0, false, err
	}
	defer s.leave()
	hash := hashOf(key)
	s.pages.mu.RLock()
	first, found := s.pages.find(slotOf(key, hash), hash)
	s.pages.mu.RUnlock()
	if found {
		if value, sum, ok, err = s.getFrom(first, key, hash, buf); ok {
			return value, sum, ok, err
		}
	}
	// A fold may have moved the record to a new page in the meantime: look
	// again while no page can move.
	s.pages.mu.RLock()
	defer s.pages.mu.RUnlock()
	if first, found = s.pages.find(slotOf(key, hash), hash); !found {
		return buf, 0, false, nil
	}
	return s.getFrom(first, key, hash, buf)
}

func (s *Store) getFrom(first uint64, key []byte, hash uint64, buf []byte) (value []byte, sum Sum, ok bool, err error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	slot := slotOf(key, hash)
	raw, err := s.readPage(txn, slot, first, nil)
	if err != nil {
		return buf, 0, false, err
	}
	for len(raw) > 0 {
		var r record
		if r, raw, err = nextRecord(raw); err != nil {
			return buf, 0, false, s.damagedPage(slot, first, err)
		}
		if !bytes.Equal(r.key, key) {
			continue
		}
		if SumOf(r.key, r.value) != r.sum {
			return buf, 0, false, s.damagedPage(slot, first, errSum)
		}
		return append(buf, r.value...), r.sum, true, nil
	}
	return buf, 0, false, nil
}
