package allowlist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func set(t testing.TB, lists ...List) *Set {
	t.Helper()
	s, err := New(lists)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnItemExceptsWhatItHoldsAndWhatHoldsIt(t *testing.T) {
	s := set(t,
		List{"office", []Item{{Value: "192.0.2.7/24", Comment: "us"}, {Value: "2001:db8::1"}, {Value: "10.0.0.0/8", Until: now}}},
		List{"guests", []Item{{Value: "198.51.100.1", Until: now.Add(time.Second)}, {Value: "192.0.2.9"}, {Value: "::ffff:203.0.113.1"}}},
	)
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.0/24 from office (us)", "192.0.2.9": "192.0.2.9 from guests", "192.0.2.0/25": "192.0.2.0/24 from office (us)",
		"192.0.0.0/16": "192.0.2.0/24 from office (us)", "192.0.3.0/24": "", "2001:db8::1": "2001:db8::1 from office", "2001:db8::/32": "2001:db8::1 from office",
		"2001:db8::2": "", "10.1.1.1": "", "10.0.0.0/7": "", "198.51.100.1": "198.51.100.1 from guests", "203.0.113.1": "203.0.113.1 from guests",
		"0.0.0.0/0": "192.0.2.0/24 from office (us)",
	} {
		p, err := decisions.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if m, ok := s.Covers(p, now); ok {
			got = m.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if _, err := New([]List{{"x", []Item{{Value: "nowhere"}}}}); err == nil || !strings.Contains(err.Error(), "allow-list x") {
		t.Errorf("error = %v", err)
	}
	if s.Mark(now) == s.Mark(now.Add(time.Second)) || s.Mark(now) == "" {
		t.Error("the mark is the same once an item has ended")
	}
}

func TestConditionsLookAtAlerts(t *testing.T) {
	google := func(a *pipeline.Alert) (bool, error) { return a.Source.AsNumber == "15169", nil }
	broken := func(*pipeline.Alert) (bool, error) { return true, errors.New("no such thing") }
	s := set(t, List{"known", []Item{{Value: "broken", Holds: broken}, {Value: "google", Holds: google, Until: now.Add(time.Hour)}, {Value: "192.0.2.1"}}})
	for name, c := range map[string]struct {
		source pipeline.Source
		at     time.Time
		want   string
		fails  bool
	}{
		"a source":                {pipeline.Source{Scope: "Ip", Value: "192.0.2.1"}, now, "192.0.2.1 from known", false},
		"a range around one":      {pipeline.Source{Scope: "range", Value: "192.0.2.0/24"}, now, "192.0.2.1 from known", false},
		"a condition":             {pipeline.Source{Scope: "Ip", Value: "8.8.8.8", AsNumber: "15169"}, now, "google from known", true},
		"one that has ended":      {pipeline.Source{Scope: "Ip", Value: "8.8.8.8", AsNumber: "15169"}, now.Add(time.Hour), "", true},
		"another scope's value":   {pipeline.Source{Scope: "user", Value: "192.0.2.1"}, now, "", true},
		"an address that is none": {pipeline.Source{Scope: "Ip", Value: "x"}, now, "", true},
	} {
		m, ok, err := s.Allows(&pipeline.Alert{Source: &c.source}, c.at)
		if got := m.String(); ok != (c.want != "") || ok && got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v, %v", name, got, ok, err)
		}
	}
	var none *Set
	if _, ok, err := none.Allows(&pipeline.Alert{}, now); ok || err != nil || none.Conditions(now) || none.Mark(now) != "" {
		t.Error("a set that is none excepts something")
	}
	if !s.Conditions(now) || s.Conditions(now.Add(time.Hour)) != true || set(t).Conditions(now) {
		t.Error("conditions are not known")
	}
}

// TestCoversEqualsThePlainLoop compares the table with a loop over all items.
func TestCoversEqualsThePlainLoop(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		text := fmt.Sprintf("10.0.%d.%d/%d", rng.IntN(2), rng.IntN(8), 14+rng.IntN(19))
		if rng.IntN(3) == 0 {
			text = fmt.Sprintf("2001:db8::%d/%d", rng.IntN(8), 110+rng.IntN(19))
		}
		p, err := decisions.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	hits := 0
	for range 300 {
		var items []Item
		for range rng.IntN(4) {
			items = append(items, Item{Value: prefix().String(), Until: now.Add(time.Duration(rng.IntN(3)-1) * time.Second)})
		}
		s := set(t, List{"x", items})
		for range 20 {
			p, want := prefix(), false
			for _, it := range items {
				q, _ := decisions.ParsePrefix(it.Value)
				want = want || it.Until.After(now) && q.Overlaps(p)
			}
			if _, got := s.Covers(p, now); got != want {
				t.Fatalf("%v in %v: %v, want %v", p, items, got, want)
			}
			if want {
				hits++
			}
		}
	}
	if hits < 100 {
		t.Errorf("only %d hits", hits)
	}
}

func BenchmarkCovers(b *testing.B) {
	var items []Item
	for i := range 10_000 {
		items = append(items, Item{Value: fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255)})
	}
	s := set(b, List{"x", items})
	p := netip.MustParsePrefix("192.0.2.1/32")
	for b.Loop() {
		s.Covers(p, now)
	}
}
