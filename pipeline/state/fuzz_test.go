package state

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func FuzzMarker(f *testing.F) {
	m := marker{epoch: 7, at: time.Unix(1, 2), after: totals{3, 4}, next: 5, chunks: []chunkRef{{0, 64, 1, 2, 3}, {64, 65, 4, 5, 6}}}
	f.Add(m.encode(), false)
	f.Add(m.encodeHead(), true)
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		m, err := decodeMarker(b, head)
		if err != nil {
			return
		}
		again := m.encode()
		if head {
			again = m.encodeHead()
		}
		// Varints have longer forms too, so only what is encoded again is compared.
		m2, err := decodeMarker(again, head)
		if err != nil || m2.epoch != m.epoch || m2.after != m.after || m2.next != m.next || len(m2.chunks) != len(m.chunks) {
			t.Errorf("%+v became %+v, %v", m, m2, err)
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add(appendRecord(nil, record{key: []byte("b1"), value: []byte("one"), sum: 1}), []byte{opPut, 2, 'b', '1', 1, 'x'})
	f.Fuzz(func(t *testing.T, raw, chunk []byte) {
		ops, err := placed(nil, chunk, span{0, slots})
		if err != nil {
			ops = nil
		}
		sortOps(ops)
		first, last := slotRange(0)
		_, _ = merge(page{first: first, last: last}, raw, ops, true, func(record) error { return nil })
	})
}

func FuzzContent(f *testing.F) {
	f.Add(pack([]byte("k"), []byte("content content content"))[sealBytes:])
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1 && content[0] == codecS2 && len(content) > 1<<16 {
			return // a long one may ask for a lot of memory, rightly
		}
		_, _ = unpack(nil, content)
	})
}

// FuzzLog reads logs that Badger is not to see unless they are whole.
func FuzzLog(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, log []byte) {
		end := wholeWrites(log)
		if end < 0 || end > len(log) {
			t.Fatalf("the whole writes of %d bytes end at %d", len(log), end)
		}
		if again := wholeWrites(log[:end]); again != end {
			t.Errorf("what is whole up to %d is whole up to %d when cut there", end, again)
		}
	})
}

// FuzzTable changes a table at a place: nothing that differs may pass.
func FuzzTable(f *testing.F) {
	tables, err := filepath.Glob(filepath.Join("testdata", "v1", "*"+tableExt))
	if err != nil || len(tables) == 0 {
		f.Fatal(tables, err)
	}
	whole, err := os.ReadFile(tables[0])
	if err != nil {
		f.Fatal(err)
	}
	if err := checkTable(whole); err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{1})
	f.Add(len(whole)-4, []byte{0, 0, 0, 0})
	f.Add(len(whole)-20, []byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, at int, b []byte) {
		if at < 0 || at > len(whole) {
			return
		}
		table := append([]byte(nil), whole...)
		n := copy(table[at:], b)
		table = append(table, b[n:]...)
		if err := checkTable(table); err == nil && !bytes.Equal(table, whole) {
			t.Errorf("changed at %d to %x, and nobody noticed", at, b)
		}
	})
}

// FuzzImport reads exports, here without their compression.
func FuzzImport(f *testing.F) {
	export, err := os.ReadFile(filepath.Join("testdata", "v1.export"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plainOf(f, export))
	f.Fuzz(func(t *testing.T, plain []byte) {
		o := smallOptions(t)
		if err := Import(o, packed(t, plain)); err != nil {
			return
		}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := loadAll(s, 1); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
