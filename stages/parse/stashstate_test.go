package parse

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// stashRecords is a store of the stashes of one partition.
type stashRecords struct {
	dict      *state.Dictionary
	partition uint32
	values    map[string]string
}

func newStashRecords() *stashRecords {
	d := state.NewDictionary()
	return &stashRecords{d, pipeline.PartitionNumber(d, pipeline.Partition{Source: "s", Topic: "t"}), map[string]string{}}
}

func (m *stashRecords) write(t *testing.T, w *state.Writer) (changes int) {
	t.Helper()
	err := w.Each(func(k, v []byte) error { m.values[string(k)] = string(v); return nil }, func(k []byte) error {
		if _, ok := m.values[string(k)]; !ok {
			t.Errorf("%q is deleted and was not there", k)
		}
		delete(m.values, string(k))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.Len()
}

func (m *stashRecords) save(t *testing.T, s *Stashes) (changes int) {
	t.Helper()
	var w state.Writer
	s.Save(&w)
	changes = m.write(t, &w)
	// What the stashes think is stored is stored.
	records := 1 // the clock
	for _, st := range s.saving.stashes {
		if st.sum != 0 {
			records++
		}
		for _, e := range st.policy.all(new(int)) {
			records++
			if e.sum == 0 {
				t.Errorf("%q is not stored", e.key)
			}
		}
	}
	if records != len(m.values) {
		t.Errorf("%d records are stored, want %d", len(m.values), records)
	}
	return changes
}

func (m *stashRecords) load(t *testing.T, defs []StashDef) *Stashes {
	t.Helper()
	s := NewStashes(defs)
	s.Durable(m.dict, m.partition)
	for k, v := range m.values {
		if n, ok := StashPartition([]byte(k)); !ok || n != m.partition {
			t.Errorf("%q is of partition %d, %v", k, n, ok)
		}
		taken, err := s.Load([]byte(k), []byte(v), state.SumOf([]byte(k), []byte(v)))
		if err != nil {
			t.Fatal(err)
		}
		if !taken {
			delete(m.values, k)
		}
	}
	s.Loaded()
	return s
}

func TestStashesLoadedUnderOtherRules(t *testing.T) {
	for _, from := range []string{"LRU", "LFU", "ARC"} {
		for _, to := range []string{"LRU", "LFU", "ARC"} {
			t.Run(from+" becomes "+to, func(t *testing.T) {
				records := newStashRecords()
				big := records.load(t, []StashDef{{Name: "s", Size: 3, Strategy: from}, {Name: "gone"}})
				big.SetClock(received)
				for _, k := range []string{"a", "b", "c", "d"} {
					_ = big.Set("s", k, k, time.Minute)
					_ = big.Set("gone", k, k, time.Minute)
				}
				records.save(t, big)
				small := records.load(t, []StashDef{{Name: "s", Size: 2, Strategy: to}})
				records.save(t, small)
				if _, ok := small.Get("s", "d"); !ok || len(small.stores["s"].entries) != 2 {
					t.Errorf("kept %v, want the two used last", small.Entries())
				}
				records.save(t, small)
				if again := records.load(t, []StashDef{{Name: "s", Size: 2, Strategy: to}}); !reflect.DeepEqual(small.Entries(), again.Entries()) {
					t.Errorf("loaded\n%v, want\n%v", again.Entries(), small.Entries())
				}
			})
		}
	}
}

func TestASaveWritesWhatChanged(t *testing.T) {
	records := newStashRecords()
	s := records.load(t, []StashDef{{Name: "s", Size: 3}})
	s.SetClock(received)
	for i := range 3 {
		_ = s.Set("s", fmt.Sprint(i), "v", time.Minute)
	}
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"all is new", func() {}, 4},
		{"nothing changed", func() {}, 0},
		{"a use changes the order", func() { s.Get("s", "1") }, 1},
		{"one makes room for another", func() { _ = s.Set("s", "3", "v", time.Minute) }, 2},
		{"one that came and went leaves nothing", func() {
			for i := range 4 {
				_ = s.Set("s", fmt.Sprint("x", i), "v", time.Minute)
			}
		}, 6},
		{"expired", func() { s.SetClock(received.Add(time.Hour)); s.Get("s", "x3") }, 2},
	} {
		step.do()
		if got := records.save(t, s); got != step.want {
			t.Errorf("%s: %d changes, want %d", step.name, got, step.want)
		}
	}
	var w state.Writer
	s.Forget(&w)
	records.write(t, &w)
	if len(records.values) > 0 {
		t.Errorf("a forgotten partition leaves %q", records.values)
	}
}

// TestYesterdaysStash reads the records that version 1 wrote.
func TestYesterdaysStash(t *testing.T) {
	d := state.NewDictionary()
	if p := pipeline.PartitionNumber(d, pipeline.Partition{Source: "s"}); p != 1 || d.Number(state.NumberStash, "names") != 2 {
		t.Fatal("other numbers")
	}
	s := NewStashes([]StashDef{{Name: "names", Strategy: "ARC"}})
	s.Durable(d, 1)
	for _, r := range [][2]string{
		{"t\x01\x00", "\x01\x80\xf9\x82\x9e\x0d\x00"},
		{"t\x01\x02\x00", "\x01\x03"},
		{"t\x01\x02\x01old", "\x01\x00\x01\x00\x80\xf9\x82\x9e\x0d\x00\x05first"},
		{"t\x01\x02\x01new", "\x01\x01\x02\x07\x80\xf9\x82\x9e\x0d\x00\x06second"},
	} {
		if taken, err := s.Load([]byte(r[0]), []byte(r[1]), 1); !taken || err != nil {
			t.Fatalf("%q: %v, %v", r[0], taken, err)
		}
	}
	s.Loaded()
	at := time.Date(2026, 4, 16, 3, 57, 52, 0, time.UTC)
	want := []StashState{{Name: "names", Target: 3, Entries: []StashEntry{
		{Key: "old", Value: "first", Deadline: at, List: "once"}, {Key: "new", Value: "second", Deadline: at, Uses: 7, List: "often"},
	}}}
	if got := s.Entries(); !reflect.DeepEqual(got, want) || !s.clock.Equal(at) {
		t.Errorf("got %+v at %v, want %+v", got, s.clock, want)
	}
}

func FuzzLoadStash(f *testing.F) {
	records := newStashRecords()
	f.Add("t\x01\x00", "\x01\x80\xf9\x82\x9e\x0d\x00")
	f.Add("t\x01\x02\x00", "\x01\x03")
	f.Add("t\x01\x02\x01new", "\x01\x01\x02\x07\x80\xf9\x82\x9e\x0d\x00\x06second")
	f.Fuzz(func(t *testing.T, key, value string) {
		s := NewStashes([]StashDef{{Name: "names", Strategy: "ARC", Size: 1}})
		s.Durable(records.dict, records.partition)
		taken, err := s.Load([]byte(key), []byte(value), 1)
		if err != nil && taken {
			t.Error("taken with an error")
		}
		s.Loaded()
		var first, second state.Writer
		s.Save(&first)
		s.Save(&second)
		if first.Len() > 1 || second.Len() > 0 {
			t.Errorf("loading one record makes %d changes, then %d", first.Len(), second.Len())
		}
	})
}
