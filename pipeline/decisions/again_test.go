package decisions

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// restart returns what is known of an index that has forgotten nothing after a restart.
func restart(t *testing.T, x *Index, now time.Time) *Index {
	t.Helper()
	var known []Change
	for i := range x.log.len {
		c := x.log.at(i)
		if s := x.slots.at(c.ref); c.why != Added || s.gone == Added {
			known = append(known, Change{Seq: int64(i + 1), Why: c.why, Decision: x.decision(s)})
		}
	}
	out := &Index{}
	all := func(yield func(*Change) bool) {
		for i := range known {
			if !yield(&known[i]) {
				return
			}
		}
	}
	if err := out.Restore(all, 0, x.Seq()); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWhatIsToldAgain looks at places: what is told at one is not told at the
// next, what is too much or not known any more is said to be.
func TestWhatIsToldAgain(t *testing.T) {
	x := &Index{}
	for i := range 4 {
		for _, length := range []time.Duration{time.Second * time.Duration(1+i), time.Hour} {
			if _, err := x.Add(&Decision{Scope: "Ip", Value: fmt.Sprintf("192.0.2.%d", i), Type: "ban", Origin: fmt.Sprint(length), Until: begin.Add(length)}); err != nil {
				t.Fatal(err)
			}
		}
		x.Remove(&Filter{Origins: []string{fmt.Sprint(time.Second * time.Duration(1+i))}}, Deleted, begin)
	}
	seq, place := x.Seq(), x.AgainPlace()
	expect := func(after time.Duration, place int64, from time.Time, since int64, limit int, want string, wantKnown bool) int64 {
		t.Helper()
		now := begin.Add(after)
		if gone := x.Expire(now, 2); len(gone) > 0 {
			t.Errorf("after %v are over %v", after, gone)
		}
		ds, last, known := x.Again(place, from, since, &Filter{}, now, limit)
		got := ""
		for i := range ds {
			got += ds[i].Value + " "
		}
		if got != want || known != wantKnown {
			t.Errorf("after %v: %q, %v, want %q, %v", after, got, known, want, wantKnown)
		}
		return last
	}
	place = expect(0, place, begin, seq, 10, "", true)
	place = expect(time.Second, place, begin, seq, 10, "192.0.2.0 ", true)
	first := place
	place = expect(2*time.Second, place, begin, seq, 10, "192.0.2.1 ", true)
	place = expect(2*time.Second, place, begin, seq, 10, "", true)
	expect(4*time.Second, place, begin, seq, 10, "192.0.2.2 192.0.2.3 ", true)
	expect(4*time.Second, place, begin, seq, 1, "", false)
	expect(4*time.Second, 0, begin.Add(3*time.Second), seq, 10, "192.0.2.2 192.0.2.3 ", true)
	expect(4*time.Second, place, begin, 0, 10, "", true) // which is told as new
	x.Remove(&Filter{Value: "192.0.2.1", Scope: "Ip"}, Deleted, begin)
	expect(4*time.Second, first, begin, seq, 10, "192.0.2.2 192.0.2.3 ", true)
	x.again, x.before = x.again[2:], 2
	expect(4*time.Second, first, begin, seq, 10, "", false)
}

// TestABouncerThatKeepsTheFirstEnd plays a firewall that takes no later end for
// a value that it has: it must block what is in force all the same, after each
// pull, whether all decisions on a value are withdrawn, or one of them, or one
// that another has taken the place of, as when a list is renewed.
func TestABouncerThatKeepsTheFirstEnd(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x, now := &Index{}, begin
		blocked := make(map[string]time.Time)
		seen, place, told := int64(0), int64(0), now
		for range 60 {
			for range rng.IntN(4) {
				d := Decision{Scope: "Ip", Value: fmt.Sprintf("192.0.2.%d", rng.IntN(3)), Type: "ban", Until: now.Add(time.Duration(1+rng.IntN(20)) * time.Second)}
				if _, err := x.Add(&d); err != nil {
					t.Fatal(err)
				}
			}
			if rng.IntN(8) == 0 {
				x.Remove(&Filter{Scope: "Ip", Value: fmt.Sprintf("192.0.2.%d", rng.IntN(3))}, Deleted, now)
			}
			if rng.IntN(3) == 0 {
				x.Remove(&Filter{ID: 1 + rng.Int64N(x.Seq()+1)}, pick(rng, Deleted, Allowed), now)
			}
			if rng.IntN(16) == 0 {
				x = restart(t, x, now)
				place = 0
			}
			now = now.Add(time.Second)
			late := rng.IntN(4) == 0 // a bouncer may ask before an end is noticed
			if !late {
				x.Expire(now, 1000)
			}
			for v, end := range blocked {
				if !end.After(now) {
					delete(blocked, v)
				}
			}
			added, removed, last, known := x.Delta(seen, &Filter{}, now, true)
			if !known {
				t.Fatalf("seed %d: %d is not known", seed, seen)
			}
			more, last2, known := x.Again(place, told.Add(-time.Minute), seen, &Filter{}, now, 100)
			if !known {
				t.Fatalf("seed %d: what is to be told again is not known", seed)
			}
			added = append(added, more...)
			seen, place, told = last, last2, now
			for i := range removed {
				delete(blocked, removed[i].Value)
			}
			for i := range added {
				if _, ok := blocked[added[i].Value]; !ok {
					blocked[added[i].Value] = added[i].Until
				}
			}
			want := make(map[string]bool)
			x.Select(&Filter{}, now, func(d *Decision) bool { want[d.Value] = true; return true })
			if got := slices.Sorted(maps.Keys(blocked)); !late && !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("seed %d: %v: it blocks %v, want %v", seed, now, got, want)
			}
		}
	}
}

// TestWhatStandsInIsAddedOnce looks at one delta after the other.
func TestWhatStandsInIsAddedOnce(t *testing.T) {
	x := &Index{}
	add := func(length time.Duration) {
		t.Helper()
		if _, err := x.Add(&Decision{Scope: "Ip", Value: "192.0.2.1", Type: "ban", Until: begin.Add(length)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := int64(0)
	expect := func(after time.Duration, wantAdded, wantRemoved string) {
		t.Helper()
		x.Expire(begin.Add(after), 10)
		added, removed, last, known := x.Delta(seen, &Filter{}, begin.Add(after), true)
		ids := func(ds []Decision) (out []int64) {
			for i := range ds {
				out = append(out, ds[i].ID)
			}
			return out
		}
		if a, r := fmt.Sprint(ids(added)), fmt.Sprint(ids(removed)); !known || a != wantAdded || r != wantRemoved {
			t.Errorf("after %v: added %s, removed %s, want %s and %s", after, a, r, wantAdded, wantRemoved)
		}
		seen = last
	}
	add(10 * time.Second)
	add(11 * time.Second)
	expect(0, "[2]", "[]")
	add(time.Hour)
	add(5 * time.Second)
	expect(1*time.Second, "[3]", "[]")
	expect(6*time.Second, "[]", "[]") // a short one beside a long one is no news
	expect(12*time.Second, "[3]", "[]")
	add(2 * time.Hour)
	x.Remove(&Filter{ID: 3}, Deleted, begin.Add(13*time.Second))
	expect(13*time.Second, "[8]", "[]")
	add(time.Minute)
	expect(14*time.Second, "[]", "[]")
	x.Remove(&Filter{ID: 8}, Deleted, begin.Add(15*time.Second))
	expect(15*time.Second, "[10]", "[]") // which nobody was told of
	expect(2*time.Minute, "[]", "[10]")
}
