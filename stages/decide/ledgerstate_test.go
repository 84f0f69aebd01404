package decide

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ledgerRecords is a store of a ledger.
type ledgerRecords map[string]string

func (m ledgerRecords) save(t *testing.T, l *Ledger) (changes int) {
	t.Helper()
	var w state.Writer
	l.Save(&w)
	err := w.Each(func(k, v []byte) error { m[string(k)] = string(v); return nil }, func(k []byte) error {
		if _, ok := m[string(k)]; !ok {
			t.Errorf("%q is deleted and was not there", k)
		}
		delete(m, string(k))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.Len()
}

func (m ledgerRecords) load(t *testing.T, size int) *Ledger {
	t.Helper()
	l := newLedger(size)
	l.Durable()
	for k, v := range m {
		if err := l.Load([]byte(k), []byte(v), state.SumOf([]byte(k), []byte(v))); err != nil {
			t.Fatal(err)
		}
	}
	l.Loaded()
	return l
}

func describe(l *Ledger) string {
	out := fmt.Sprint(l.now)
	for _, k := range l.values.Keys() {
		v, _ := l.values.Peek(k)
		out += fmt.Sprintf("\n%s %d %v", k, v.order, v.entries)
	}
	return out
}

// TestALoadedLedgerGoesOnAlike holds a ledger that is saved and loaded over
// and over to one that is not, with more values than it holds.
func TestALoadedLedgerGoesOnAlike(t *testing.T) {
	const size = 6
	r := rand.New(rand.NewPCG(1, 2))
	records := ledgerRecords{}
	a, b := newLedger(size), records.load(t, size)
	for i := range 2000 {
		d := &pipeline.Decision{Value: fmt.Sprint("v", r.IntN(12)), Duration: fmt.Sprint(r.IntN(100), "m")}
		at := noon.Add(time.Duration(i-r.IntN(20)) * time.Second)
		a.record(d, at)
		b.record(d, at)
		if i%3 == 0 {
			records.save(t, b)
			if want := b.values.Len() + 1; len(records) != want {
				t.Fatalf("step %d: %d records, want %d", i, len(records), want)
			}
		}
		if i%9 == 0 {
			b = records.load(t, size)
		}
		if got, want := describe(b), describe(a); got != want {
			t.Fatalf("step %d: got %s\nwant %s", i, got, want)
		}
	}
}

func TestALedgerSavesWhatChanged(t *testing.T) {
	records := ledgerRecords{}
	l := records.load(t, 2)
	ban := func(value string) { l.record(&pipeline.Decision{Value: value, Duration: "4h"}, noon) }
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"nothing", func() {}, 0},
		{"the clock and a value", func() { ban("a") }, 2},
		{"nothing new", func() {}, 0},
		{"another decision", func() { ban("a"); ban("a") }, 1},
		{"one that is forgotten before it is saved leaves nothing", func() { ban("b"); ban("c"); ban("d") }, 3},
		{"forgotten and decided on again", func() { ban("e"); ban("f"); ban("c") }, 4},
	} {
		step.do()
		if got := records.save(t, l); got != step.want {
			t.Errorf("%s: %d changes, want %d", step.name, got, step.want)
		}
	}
}

// TestYesterdaysDecisions reads the records that version 1 wrote.
func TestYesterdaysDecisions(t *testing.T) {
	records := ledgerRecords{
		"l\x00":        "\x01\xe0\x93\x82\x9e\x0d\x00",
		"l\x011.2.3.4": "\x01\x07\x02\xe0\x93\x82\x9e\x0d\x00\x80\xe1\x01\x00\x78\x00\x80\xe1\x01\x00",
	}
	l := records.load(t, 10)
	v, ok := l.values.Peek("1.2.3.4")
	if !ok || l.decisions != 7 || len(v.entries) != 2 {
		t.Fatalf("%+v", v)
	}
	first, second := v.entries[0], v.entries[1]
	if !first.made.Equal(l.now) || first.until.Sub(first.made) != 4*time.Hour ||
		second.made.Sub(first.made) != time.Minute || second.until.Sub(second.made) != 4*time.Hour {
		t.Errorf("at %v: %+v", l.now, v.entries)
	}
}

func FuzzLoadDecisions(f *testing.F) {
	f.Add("l\x00", "\x01\xe0\x93\x82\x9e\x0d\x00")
	f.Add("l\x011.2.3.4", "\x01\x07\x02\xe0\x93\x82\x9e\x0d\x00\x80\xe1\x01\x00\x78\x00\x80\xe1\x01\x00")
	f.Fuzz(func(t *testing.T, key, value string) {
		l := newLedger(2)
		l.Durable()
		if l.Load([]byte(key), []byte(value), 1) != nil {
			return
		}
		l.Loaded()
		var w state.Writer
		if l.Save(&w); w.Len() > 0 {
			t.Error("loading is no change")
		}
	})
}
