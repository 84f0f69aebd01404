package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRecordsAreReadWhileTheyAreFolded(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	w := &Writer{}
	const n = 20_000
	for i := range n {
		w.Put(fmt.Appendf(nil, "b%d", i), []byte(strings.Repeat("v", 60)), 0)
	}
	if _, err := s.Commit(context.Background(), &Epoch{Parts: []*Writer{w}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Fold(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(4, 4))
		for {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Appendf(nil, "b%d", r.IntN(n))
			if _, _, ok, err := s.Get(key, nil); !ok || err != nil {
				done <- fmt.Errorf("%s: %v, %v", key, ok, err)
				return
			}
		}
	}()
	// More and more records split the pages under the reader.
	for round := range 5 {
		w := &Writer{}
		for i := range n {
			w.Put(fmt.Appendf(nil, "b more %d %d", round, i), []byte(strings.Repeat("w", 60)), 0)
		}
		if _, err := s.Commit(context.Background(), &Epoch{Parts: []*Writer{w}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Fold(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnEpochThatFindsNoRoomIsRefusedAndMayComeAgain(t *testing.T) {
	o := smallOptions(t)
	o.Reserve = 1 << 60 // more than the disk has
	s := mustOpen(t, o)
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	if sp, err := s.Space(); err != nil || !sp.Low || sp.Free <= 0 || sp.Used <= 0 {
		t.Errorf("space is %+v, %v", sp, err)
	}
	s.Dictionary().Number(NumberField, "name")
	e := &Epoch{Parts: []*Writer{{}}}
	e.Parts[0].Put([]byte("b1"), []byte("one"), 0)
	s.free = func(string) (int64, error) { return 1 << 20, nil }
	var space *SpaceError
	if _, err := s.Commit(context.Background(), e); !errors.As(err, &space) {
		t.Fatalf("got %v", err)
	}
	s.free = freeBytes
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Commit(ctx, e); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if done, err := s.Commit(context.Background(), e); err != nil || done.Epoch != 1 {
		t.Fatalf("got %+v, %v", done, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	if got, err := loadAll(s, 1); err != nil || got["b1"] != "one" {
		t.Errorf("got %v, %v", got, err)
	}
	if name, ok := s.Dictionary().Name(NumberField, 1); !ok || name != "name" {
		t.Errorf("number 1 is %q", name)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	exhibit(t, s)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for what, call := range map[string]func() error{
		"Load":         func() error { _, err := loadAll(s, 1); return err },
		"Commit":       func() error { _, err := s.Commit(ctx, &Epoch{}); return err },
		"Fold":         func() error { return s.Fold(ctx) },
		"Get":          func() error { _, _, _, err := s.Get([]byte("b1"), nil); return err },
		"Outbox":       func() error { _, err := s.Outbox(1, 1); return err },
		"Trim":         func() error { return s.Trim(4) },
		"Discard":      func() error { return s.Discard([]uint64{5}) },
		"SetCursor":    func() error { return s.SetCursor("file", 4) },
		"RemoveCursor": func() error { return s.RemoveCursor("file") },
		"SetAccepted":  func() error { return s.SetAccepted(6) },
		"Space":        func() error { _, err := s.Space(); return err },
		"Export":       func() error { return s.Export(io.Discard) },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestLargeRecordsLieInPieces(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	m := newModel()
	r := rand.New(rand.NewPCG(6, 6))
	pieces := func() (n int) {
		t.Helper()
		txn := s.db.NewTransaction(false)
		defer txn.Discard()
		if err := scan(txn, []byte{keyPiece}, true, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for round := range 4 {
		e := &Epoch{Parts: []*Writer{{}}}
		if round < 3 {
			m.records["blarge"] = randomText(r, 3<<20)
			m.sums["blarge"] = e.Parts[0].Put([]byte("blarge"), []byte(m.records["blarge"]), m.sums["blarge"])
			m.outbox = append(m.outbox, randomText(r, 2<<20))
			e.Outbox = []Entry{{Payload: []byte(m.outbox[round])}}
		} else {
			e.Parts[0].Delete([]byte("blarge"), m.sums["blarge"])
			delete(m.records, "blarge")
		}
		if _, err := s.Commit(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		m.committed()
		if round != 1 {
			if err := s.Fold(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.check(s); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		if err := m.check(s); err != nil {
			t.Fatal(err)
		}
		if pieces() == 0 {
			t.Fatal("nothing is in pieces")
		}
	}
	if err := errors.Join(s.Discard([]uint64{2}), s.Trim(2)); err != nil {
		t.Fatal(err)
	}
	if n := pieces(); n != piecesOf(2<<20+5) {
		t.Errorf("%d pieces are left, want those of entry 3", n)
	}
	if err := s.Trim(4); err != nil {
		t.Fatal(err)
	}
	if n := pieces(); n != 0 {
		t.Errorf("%d pieces are left, and nothing refers to them", n)
	}
}
