package state

import (
	"errors"
	"testing"
)

// TestTheLaterPartCounts: a graph that begins drops the record of a bucket
// whose scenario was redefined, and a shard of it writes another under the same key.
func TestTheLaterPartCounts(t *testing.T) {
	o := smallOptions(t)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	var first, gone, again Writer
	sum := first.Put([]byte("bkey"), []byte("old"), 0)
	gone.Delete([]byte("bkey"), sum)
	again.Put([]byte("bkey"), []byte("new"), 0)
	for _, e := range []*Epoch{{Parts: []*Writer{&first}}, {Parts: []*Writer{&gone, &again}}} {
		if _, err := s.Commit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	got, err := loadAll(s, 1)
	if err != nil || len(got) != 1 || got["bkey"] != "new" {
		t.Errorf("the state holds %q, %v; want the record of the later part", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatWasAcceptedStaysAccepted: all of the outbox is, at the next Open too.
func TestWhatWasAcceptedStaysAccepted(t *testing.T) {
	o := smallOptions(t)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadAll(s, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), &Epoch{Outbox: []Entry{{Payload: []byte("a")}, {Payload: []byte("b")}}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetAccepted(s.NextSeq()), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if s.Accepted() != 3 || s.NextSeq() != 3 {
		t.Errorf("entries below %d are accepted, want all below %d", s.Accepted(), s.NextSeq())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
