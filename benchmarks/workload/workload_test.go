package workload

import (
	"strings"
	"testing"
	"time"
)

func TestTheSameSeedGivesTheSameLines(t *testing.T) {
	o := Options{Seed: 7, Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	a, b := New(o), New(o)
	kinds := map[Kind]int{}
	attacks := 0
	last := o.Start
	for range 20_000 {
		l := a.Next()
		if m := b.Next(); l != m {
			t.Fatalf("two streams of one seed differ:\n%v\n%v", l, m)
		}
		if l.Time.Before(last) {
			t.Fatalf("time went back at %q", l.Text)
		}
		last = l.Time
		if strings.ContainsAny(l.Text, "\n\x00") {
			t.Fatalf("not one line: %q", l.Text)
		}
		kinds[l.Kind]++
		if strings.Contains(l.Text, "203.0.113.") || strings.Contains(l.Text, "198.51.100.") {
			attacks++
		}
	}
	if kinds[Nginx] < 10_000 || kinds[Syslog] < 4_000 || attacks < 150 {
		t.Errorf("an odd mix: %v, %d attack lines", kinds, attacks)
	}
	o.Seed = 8
	if New(o).Next() == New(Options{Seed: 7, Start: o.Start}).Next() {
		t.Error("another seed gave the same first line")
	}
}
