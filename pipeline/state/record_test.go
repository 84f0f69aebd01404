package state

import (
	"fmt"
	"strings"
	"testing"
)

func TestAWriterGivesBackWhatWasWrittenInOrder(t *testing.T) {
	var w Writer
	large := strings.Repeat("x", chunkBytes)
	first := w.Put([]byte("b1"), []byte("one"), 0)
	second := w.Put([]byte("b1"), []byte("two"), first)
	w.Put([]byte("b2"), []byte(large), 0)
	w.Delete([]byte("b1"), second)
	w.Delete([]byte("b3"), 0) // was never there
	var got []string
	err := w.Each(
		func(k, v []byte) error { got = append(got, fmt.Sprintf("%s=%d", k, len(v))); return nil },
		func(k []byte) error { got = append(got, "-"+string(k)); return nil },
	)
	want := fmt.Sprintf("[b1=3 b1=3 b2=%d -b1]", chunkBytes)
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	if only := SumOf([]byte("b2"), []byte(large)); w.change != only || w.records != 1 || w.Len() != 4 {
		t.Errorf("change %x of %d records in %d changes, want %x of 1 in 4", w.change, w.records, w.Len(), only)
	}
}

func TestSumsTellKeysAndValuesApart(t *testing.T) {
	if SumOf([]byte("ab"), []byte("c")) == SumOf([]byte("a"), []byte("bc")) {
		t.Error("the border between key and value makes no difference")
	}
}

func TestADictionaryComesBack(t *testing.T) {
	d := NewDictionary()
	a, b := d.Number(NumberField, "a"), d.Number(NumberGroup, "a")
	if a == b || d.Number(NumberField, "a") != a {
		t.Fatalf("numbers %d and %d", a, b)
	}
	var w Writer
	d.Save(&w)
	d.Save(&w) // nothing new
	if w.Len() != 2 {
		t.Errorf("saved %d numbers, want 2", w.Len())
	}
	back := NewDictionary()
	if err := w.Each(back.Load, nil); err != nil {
		t.Fatal(err)
	}
	if err := back.Loaded(); err != nil {
		t.Fatal(err)
	}
	if name, ok := back.Name(NumberGroup, b); name != "a" || !ok {
		t.Errorf("number %d is %q, %v", b, name, ok)
	}
	if _, ok := back.Name(NumberPartition, b); ok {
		t.Error("a group's number counts as a partition's")
	}
	if c := back.Number(NumberStash, "s"); c != 3 {
		t.Errorf("the next number is %d, want 3", c)
	}
}

func TestADictionaryWithAGapIsRefused(t *testing.T) {
	d := NewDictionary()
	if err := d.Load([]byte{byte(KindNumber), 2}, []byte("fx")); err != nil {
		t.Fatal(err)
	}
	if d.Loaded() == nil {
		t.Error("number 1 is missing and nobody noticed")
	}
}

func FuzzChunk(f *testing.F) {
	var w Writer
	w.Put([]byte("b1"), []byte("one"), 0)
	w.Delete([]byte("b1"), 1)
	f.Add(w.chunks[0])
	f.Fuzz(func(t *testing.T, c []byte) {
		_ = eachOp(c, func(_, _ []byte) error { return nil }, func([]byte) error { return nil })
	})
}
