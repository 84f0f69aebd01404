package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// model is the plain store that Store must equal: a map, and a copy of it for every epoch.
type model struct {
	records map[string]string
	sums    map[string]Sum
	outbox  []string // by sequence number less one
	epochs  []snapshot
}

type snapshot struct {
	records map[string]string
	outbox  int
}

func newModel() *model {
	return &model{records: map[string]string{}, sums: map[string]Sum{}, epochs: []snapshot{{records: map[string]string{}}}}
}

// change makes random changes to the model and returns them as an epoch.
func (m *model) change(r *rand.Rand, ops, keys int) *Epoch {
	e := &Epoch{Parts: []*Writer{{}, {}, {}}}
	for range ops {
		n := r.IntN(keys)
		key := fmt.Sprintf("b%d/%s", n, strings.Repeat("k", n%50))
		w := e.Parts[n%3]
		switch {
		case r.IntN(4) == 0:
			w.Delete([]byte(key), m.sums[key])
			delete(m.sums, key)
			delete(m.records, key)
		default:
			size := r.IntN(200)
			if r.IntN(8000) == 0 {
				size = r.IntN(3 << 20) // too large for one entry of Badger, when it does not compress
			}
			value := randomText(r, size)
			m.sums[key] = w.Put([]byte(key), []byte(value), m.sums[key])
			m.records[key] = value
		}
	}
	for range r.IntN(4) {
		payload := randomText(r, r.IntN(300))
		m.outbox = append(m.outbox, payload)
		e.Outbox = append(e.Outbox, Entry{Payload: []byte(payload)})
	}
	return e
}

func (m *model) committed() {
	m.epochs = append(m.epochs, snapshot{maps.Clone(m.records), len(m.outbox)})
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
		if r.IntN(2) == 0 {
			b[i] = 'a'
		}
	}
	return string(b)
}

// loadAll reads a store with several workers.
func loadAll(s *Store, workers int) (map[string]string, error) {
	got := map[string]string{}
	var mu sync.Mutex
	err := s.LoadParallel(workers, func(_ int, key, value []byte, sum Sum) error {
		if sum != SumOf(key, value) {
			return fmt.Errorf("%q has a wrong sum", key)
		}
		mu.Lock()
		defer mu.Unlock()
		if _, ok := got[string(key)]; ok {
			return fmt.Errorf("%q comes twice", key)
		}
		got[string(key)] = string(value)
		return nil
	})
	return got, err
}

// compare says how a store's records differ from those of an epoch.
func compare(got, want map[string]string) error {
	for k, v := range want {
		if g, ok := got[k]; !ok {
			return fmt.Errorf("%.60q is missing", k)
		} else if g != v {
			return fmt.Errorf("%.60q holds %.60q, want %.60q", k, g, v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("%.60q is too many", k)
		}
	}
	return nil
}

// check compares an open store with the model at the store's last epoch.
func (m *model) check(s *Store) error {
	last := s.Last()
	if last >= uint64(len(m.epochs)) {
		return fmt.Errorf("epoch %d was never committed", last)
	}
	want := m.epochs[last]
	got, err := loadAll(s, 1+int(last%3))
	if err != nil {
		return err
	}
	if err := compare(got, want.records); err != nil {
		return fmt.Errorf("epoch %d: %w", last, err)
	}
	if next := s.NextSeq(); next != uint64(want.outbox)+1 {
		return fmt.Errorf("epoch %d: the next entry is %d, want %d", last, next, want.outbox+1)
	}
	entries, err := s.Outbox(1, want.outbox)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if string(e.Payload) != m.outbox[e.Seq-1] {
			return fmt.Errorf("entry %d is %.60q, want %.60q", e.Seq, e.Payload, m.outbox[e.Seq-1])
		}
	}
	return nil
}

// smallOptions make everything happen early.
func smallOptions(t testing.TB) Options {
	return Options{Dir: t.TempDir(), MemTable: 4 << 20, FoldBytes: 1 << 40, FoldEpochs: 1 << 30, Reserve: 1, Workers: 2}
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestRandomOperationsEqualTheModel does what a pipeline does, in random order.
func TestRandomOperationsEqualTheModel(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			o := smallOptions(t)
			if seed%2 == 1 {
				o.FoldEpochs = 3
			}
			m := newModel()
			s := mustOpen(t, o)
			names := 0
			for step := range 60 {
				if step == 0 || r.IntN(8) == 0 {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = mustOpen(t, o)
					if s.Last() != uint64(len(m.epochs)-1) {
						t.Fatalf("step %d: epoch %d is the last, want %d", step, s.Last(), len(m.epochs)-1)
					}
					if err := m.check(s); err != nil {
						t.Fatalf("step %d: %v", step, err)
					}
					for n := range names {
						if name, _ := s.Dictionary().Name(NumberField, uint32(n+1)); name != fmt.Sprint("name ", n) {
							t.Fatalf("step %d: number %d is %q", step, n+1, name)
						}
					}
				}
				if r.IntN(3) == 0 {
					s.Dictionary().Number(NumberField, fmt.Sprint("name ", names))
					names++
				}
				if _, err := s.Commit(context.Background(), m.change(r, r.IntN(2000), 1+r.IntN(5000))); err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				m.committed()
				if r.IntN(5) == 0 {
					if err := s.Fold(context.Background()); err != nil {
						t.Fatalf("step %d: %v", step, err)
					}
					m.checkGet(t, s, r)
				}
			}
			if err := m.check(s); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// checkGet reads some records that are folded, and some that are not there.
func (m *model) checkGet(t *testing.T, s *Store, r *rand.Rand) {
	t.Helper()
	want := m.epochs[s.Folded()].records
	for range 50 {
		n := r.IntN(5000)
		key := fmt.Sprintf("b%d/%s", n, strings.Repeat("k", n%50))
		value, sum, ok, err := s.Get([]byte(key), []byte("before "))
		if err != nil {
			t.Fatal(err)
		}
		v, there := want[key]
		if ok != there || ok && (string(value) != "before "+v || sum != SumOf([]byte(key), []byte(v))) {
			t.Fatalf("%q: got %v, want %v", key, ok, there)
		}
	}
}

func TestNothingIsCommittedBeforeLoad(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	if _, err := s.Commit(context.Background(), &Epoch{}); err == nil {
		t.Error("an epoch was committed upon records that nobody has checked")
	}
}

func TestASecondOpenerIsToldWhoHoldsTheState(t *testing.T) {
	o := smallOptions(t)
	mustOpen(t, o)
	_, err := Open(o)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID == "" {
		t.Errorf("got %v", err)
	}
}

func TestASinkSeesTheOutboxInOrder(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	load := func() {
		t.Helper()
		if _, err := loadAll(s, 1); err != nil {
			t.Fatal(err)
		}
	}
	load()
	for i := range 3 {
		e := &Epoch{Outbox: []Entry{{[]byte{byte(2 * i)}}, {[]byte{byte(2*i + 1)}}}}
		done, err := s.Commit(context.Background(), e)
		if err != nil || done.FirstSeq != uint64(2*i+1) || done.NextSeq != uint64(2*i+3) {
			t.Fatalf("got %+v, %v", done, err)
		}
	}
	if err := errors.Join(s.Discard([]uint64{4}), s.Trim(3), s.SetCursor("kafka", 4), s.SetCursor("gone", 1), s.RemoveCursor("gone"), s.SetAccepted(5)); err != nil {
		t.Fatal(err)
	}
	if s.Trim(8) == nil {
		t.Error("the outbox was trimmed beyond its end")
	}
	for range 2 {
		entries, err := s.Outbox(1, 3)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		for _, e := range entries {
			fmt.Fprintf(&text, "%d of %d: %v %v; ", e.Seq, e.Epoch, e.Payload, e.Discarded)
		}
		if want := "3 of 2: [2] false; 4 of 2: [] true; 5 of 3: [4] false; "; text.String() != want {
			t.Errorf("got %s, want %s", text.String(), want)
		}
		if seq, ok := s.Cursor("kafka"); seq != 4 || !ok || s.Accepted() != 5 || s.NextSeq() != 7 || len(s.Cursors()) != 1 {
			t.Errorf("cursor %d, %v, accepted %d, next %d", seq, ok, s.Accepted(), s.NextSeq())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		load()
	}
}
