package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
)

// TestEntriesThatAreLost takes single entries out of the database, or changes
// them, as no checksum of Badger's would notice. The state has epochs 4 to 6
// unfolded over a fold of 3.
func TestEntriesThatAreLost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		floor uint64
		spoil func(t *testing.T, txn *badger.Txn)
		epoch uint64 // that is found; none when the state is refused
		says  string // the refusal
	}{
		{name: "nothing is lost", floor: 6, spoil: func(*testing.T, *badger.Txn) {}, epoch: 6},
		{name: "the last marker", floor: 3, spoil: lose(markerKey(6)), epoch: 5},
		{name: "the last marker, of an epoch that was known to be durable", floor: 6, spoil: lose(markerKey(6)), says: "epoch 6 was durable"},
		{name: "a marker in the middle", floor: 3, spoil: lose(markerKey(5)), epoch: 4},
		{name: "all markers", floor: 3, spoil: lose(markerKey(4), markerKey(5), markerKey(6)), epoch: 3},
		{name: "a marker is another's", floor: 3, spoil: swap(markerKey(6), markerKey(5)), epoch: 4},
		{name: "a marker is cut", floor: 3, spoil: change(markerKey(6), func(b []byte) []byte { return b[:len(b)-1] }), epoch: 5},
		{name: "a chunk of the last epoch", floor: 3, spoil: lose(chunkKey(6, 0)), epoch: 5},
		{name: "a chunk of the first epoch that is not folded", floor: 3, spoil: lose(chunkKey(4, 0)), epoch: 3},
		{name: "a chunk is another epoch's", floor: 3, spoil: swap(chunkKey(5, 0), chunkKey(6, 0)), epoch: 4},
		{name: "a chunk has a bit changed", floor: 3, spoil: change(chunkKey(6, 0), func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), epoch: 5},
		{name: "chunks of an epoch that has no marker", floor: 3, spoil: add(chunkKey(7, 0), "left over"), epoch: 6},
		{name: "a marker behind a gap", floor: 3, spoil: copied(markerKey(8), markerKey(6)), epoch: 6},
		{name: "the mark of the fold", floor: 0, spoil: lose([]byte{keyFolded}), says: "records of sum"},
		{name: "the mark of the fold, which was known", floor: 3, spoil: lose([]byte{keyFolded}), says: "epoch 3 was durable"},
		{name: "the mark of the fold is cut", floor: 3, spoil: change([]byte{keyFolded}, func(b []byte) []byte { return b[:8] }), says: "mark of the last fold"},
		{name: "a page", floor: 3, spoil: onePage(func(txn *badger.Txn, key, _ []byte) error { return txn.Delete(key) }), says: "records of sum"},
		{name: "a page has a bit changed", floor: 3, spoil: onePage(func(txn *badger.Txn, key, v []byte) error { v[len(v)-1] ^= 1; return txn.Set(key, v) }), says: "page "},
		{name: "a page is empty", floor: 3, spoil: onePage(func(txn *badger.Txn, key, _ []byte) error { return txn.Set(key, pack(key, nil)) }), says: "records of sum"},
		{name: "an entry of the outbox", floor: 3, spoil: lose(outboxKey(3)), says: "entry 3 of the outbox"},
		{name: "the last entry of the outbox", floor: 3, spoil: lose(outboxKey(12)), says: "entry 12 of the outbox"},
		{name: "entries of the outbox that are too many", floor: 3, spoil: add(outboxKey(13), "left over"), epoch: 6},
		{name: "a cursor is cut", floor: 3, spoil: change(cursorKey("kafka"), func(b []byte) []byte { return b[:3] }), says: `cursor of sink "kafka"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := smallOptions(t)
			m := newModel()
			lostState(t, o, m)
			if err := writeFloor(o.Dir, o.MemTable, tt.floor); err != nil {
				t.Fatal(err)
			}
			raw(t, o, func(txn *badger.Txn) { tt.spoil(t, txn) })
			var log strings.Builder
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			s, err := Open(o)
			if err == nil {
				if err = m.check(s); err == nil && (tt.says != "" || s.Last() != tt.epoch) {
					t.Errorf("epoch %d was found, want %d", s.Last(), tt.epoch)
				}
			}
			if s != nil {
				defer s.Close()
			}
			var damaged *DamagedError
			switch {
			case tt.says != "" && (!errors.As(err, &damaged) || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want %q", err, tt.says)
			case tt.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.says == "" && tt.epoch < 6 && !strings.Contains(log.String(), "were dropped"):
				// A marker that is gone without a trace cannot be told from one that was never written.
				if tt.name != "the last marker" && tt.name != "all markers" {
					t.Errorf("epochs were dropped in silence: %s", log.String())
				}
			}
			if tt.says == "" {
				goOn(t, o, s, m)
			}
		})
	}
}

// lostState makes the state that the test takes entries from. Every epoch has two entries.
func lostState(t *testing.T, o Options, m *model) {
	t.Helper()
	s := mustOpen(t, o)
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for epoch := 1; epoch <= 6; epoch++ {
		s.Dictionary().Number(NumberField, fmt.Sprint(epoch))
		e := m.change(r, 300, 500)
		m.outbox, e.Outbox = m.outbox[:2*(epoch-1)], nil
		for i := range 2 {
			m.outbox = append(m.outbox, fmt.Sprintf("entry %d of %d", i, epoch))
			e.Outbox = append(e.Outbox, Entry{Payload: []byte(m.outbox[len(m.outbox)-1])})
		}
		if _, err := s.Commit(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		m.committed()
		if epoch == 3 {
			if err := s.Fold(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(s.SetCursor("kafka", 12), s.SetAccepted(13), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// goOn commits upon what was found, and folds, and finds it again.
func goOn(t *testing.T, o Options, s *Store, m *model) {
	t.Helper()
	m.back(s.Last())
	if next := s.NextSeq(); s.Accepted() > next || s.Cursors()["kafka"] >= next {
		t.Errorf("accepted %d, delivered %d, but the next entry is %d", s.Accepted(), s.Cursors()["kafka"], next)
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 3 {
		if _, err := s.Commit(context.Background(), m.change(r, 300, 500)); err != nil {
			t.Fatal(err)
		}
		m.committed()
	}
	if err := errors.Join(s.Close()); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, o)
	if err := m.check(again); err != nil {
		t.Error(err)
	}
	if err := again.Fold(context.Background()); err != nil {
		t.Error(err)
	}
	if err := m.check(again); err != nil {
		t.Error(err)
	}
}

// back makes the model what it was after an epoch.
func (m *model) back(epoch uint64) {
	m.epochs = m.epochs[:epoch+1]
	m.records, m.sums = map[string]string{}, map[string]Sum{}
	for k, v := range m.epochs[epoch].records {
		m.records[k] = v
		m.sums[k] = SumOf([]byte(k), []byte(v))
	}
	m.outbox = m.outbox[:m.epochs[epoch].outbox]
}

// raw lets f at the database of a state that is closed.
func raw(t *testing.T, o Options, f func(txn *badger.Txn)) {
	t.Helper()
	db, err := badger.Open(badgerOptions(o.Dir, o.MemTable, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	txn := db.NewTransaction(true)
	f(txn)
	if err := errors.Join(txn.Commit(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func valueAt(t *testing.T, txn *badger.Txn, key []byte) []byte {
	t.Helper()
	item, err := txn.Get(key)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	v, err := item.ValueCopy(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func lose(keys ...[]byte) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		for _, k := range keys {
			valueAt(t, txn, k) // it was there
			if err := txn.Delete(k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func change(key []byte, f func([]byte) []byte) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		if err := txn.Set(key, f(valueAt(t, txn, key))); err != nil {
			t.Fatal(err)
		}
	}
}

func copied(to, from []byte) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		if err := txn.Set(to, valueAt(t, txn, from)); err != nil {
			t.Fatal(err)
		}
	}
}

func swap(a, b []byte) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		va, vb := valueAt(t, txn, a), valueAt(t, txn, b)
		if err := errors.Join(txn.Set(a, vb), txn.Set(b, va)); err != nil {
			t.Fatal(err)
		}
	}
}

func add(key []byte, content string) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		if err := txn.Set(key, sealed(key, []byte(content))); err != nil {
			t.Fatal(err)
		}
	}
}

// onePage spoils the first page that has records.
func onePage(f func(txn *badger.Txn, key, value []byte) error) func(*testing.T, *badger.Txn) {
	return func(t *testing.T, txn *badger.Txn) {
		var key []byte
		err := scan(txn, []byte{keyPage}, true, func(k, _ []byte) error {
			if key == nil {
				key = append(key, k...)
			}
			return nil
		})
		if err != nil || key == nil {
			t.Fatal("there is no page: ", err)
		}
		if err := f(txn, key, valueAt(t, txn, key)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeftoversOfASplitCountForNothing makes pages as a fold leaves them that
// a crash ended between writing the upper part of a page and the page itself.
func TestLeftoversOfASplitCountForNothing(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	m := newModel()
	// One slot gets so many records that its page is split.
	e := &Epoch{Parts: []*Writer{{}}}
	for i := 0; len(m.records) < 600; i++ {
		key := fmt.Sprint("b", i)
		if slotOf([]byte(key), hashOf([]byte(key))) != 5 {
			continue
		}
		m.records[key] = strings.Repeat("v", 100)
		m.sums[key] = e.Parts[0].Put([]byte(key), []byte(m.records[key]), 0)
	}
	commit := func(e *Epoch) {
		t.Helper()
		if _, err := s.Commit(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		m.committed()
		if err := s.Fold(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	commit(e)
	pages := s.pages.of(5)
	if len(pages) < 3 {
		t.Fatalf("there are %d pages", len(pages))
	}
	// The first page holds all that the others do, as before the split, with other values.
	var records []record
	for key, value := range m.records {
		if h := hashOf([]byte(key)); h > pages[0].last {
			value = "older"
			records = append(records, record{key: []byte(key), value: []byte(value), sum: SumOf([]byte(key), []byte(value)), hash: h})
		} else {
			records = append(records, record{key: []byte(key), value: []byte(value), sum: SumOf([]byte(key), []byte(value)), hash: h})
		}
	}
	page := pageKey(5, pages[0].first)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, o, func(txn *badger.Txn) {
		if err := txn.Set(page, pack(page, encodeRecords(records))); err != nil {
			t.Fatal(err)
		}
	})
	s = mustOpen(t, o)
	if err := m.check(s); err != nil {
		t.Fatal(err)
	}
	if len(s.pages.stale) != 1 {
		t.Fatalf("%d pages hold leftovers", len(s.pages.stale))
	}
	// Now the second page becomes empty: its range is the first page's again.
	e = &Epoch{Parts: []*Writer{{}}}
	for key := range m.records {
		if h := hashOf([]byte(key)); h >= pages[1].first && h <= pages[1].last {
			e.Parts[0].Delete([]byte(key), m.sums[key])
			delete(m.records, key)
		}
	}
	commit(e)
	if got := len(s.pages.of(5)); got != len(pages)-1 {
		t.Errorf("there are %d pages, want %d", got, len(pages)-1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	if err := m.check(s); err != nil {
		t.Error(err)
	}
}

func encodeRecords(records []record) []byte {
	ops := make([]op, len(records))
	for i, r := range records {
		ops[i] = op{key: r.key, value: r.value, hash: r.hash}
	}
	sortOps(ops)
	var raw []byte
	for _, o := range ops {
		raw = appendRecord(raw, record{key: o.key, value: o.value, sum: SumOf(o.key, o.value)})
	}
	return raw
}

// TestTheFirstEpochIsRemembered holds a state that lost all of its epochs to
// being told from a new one, which would leave out what the group has committed.
func TestTheFirstEpochIsRemembered(t *testing.T) {
	o := smallOptions(t)
	m := newModel()
	s := mustOpen(t, o)
	if err := m.check(s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), m.tell()); err != nil {
		t.Fatal(err)
	}
	f, err := readFormat(o.Dir) // as a crash would leave it
	if err != nil || f.floor != 1 {
		t.Errorf("after the first epoch the floor is %d, %v", f.floor, err)
	}
}

// TestWhatWasTrimmedOfALostEpochComesAgain follows the numbers of entries that
// all sinks had, of an epoch that is lost: others get them, and must be delivered.
func TestWhatWasTrimmedOfALostEpochComesAgain(t *testing.T) {
	o := smallOptions(t)
	lostState(t, o, newModel())
	if err := writeFloor(o.Dir, o.MemTable, 3); err != nil {
		t.Fatal(err)
	}
	raw(t, o, func(txn *badger.Txn) {
		key := []byte{keyTrim}
		if err := errors.Join(txn.Set(key, sealed(key, binary.AppendUvarint(nil, 13))), txn.Delete(markerKey(6))); err != nil {
			t.Fatal(err)
		}
	})
	s := mustOpen(t, o)
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	done, err := s.Commit(t.Context(), &Epoch{Outbox: []Entry{{Payload: []byte("again")}, {Payload: []byte("and more")}, {Payload: []byte("new")}}})
	if err != nil || done.FirstSeq != 11 {
		t.Fatalf("committed %+v, %v", done, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	entries, err := s.Outbox(11, 10)
	if err != nil || len(entries) != 3 || string(entries[0].Payload) != "again" {
		t.Errorf("the outbox holds %+v, %v", entries, err)
	}
}
