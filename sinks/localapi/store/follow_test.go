package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/pipeline/decisions"
)

// followed returns what a follower learns behind a number: keys with their types, and the counts.
func (w *world) followed(since int64) (out []string, last int64) {
	w.t.Helper()
	t, known, err := w.Touched(since, 1000)
	if err != nil || !known {
		w.t.Fatalf("behind %d: known %v, %v", since, known, err)
	}
	for _, s := range t.Keys {
		line := s.String()
		for _, d := range s.Decisions {
			line += " " + d.Type
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return append(out, fmt.Sprintf("%d added, %d expired", t.Added, t.Expired)), t.Last
}

func TestAFollowerLearnsOfEveryKeyThatChanged(t *testing.T) {
	w := newWorld(t, nil)
	w.add("1", w.ban("192.0.2.1", time.Hour), w.ban("192.0.2.2", time.Minute), w.ban("10.0.0.0/8", time.Hour))
	captcha := w.ban("192.0.2.1", 2*time.Hour)
	captcha.Type = "captcha"
	w.add("2", captcha)
	if _, err := w.Delete(&decisions.Filter{Scope: "Range", Value: "10.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	want := []string{"Ip:192.0.2.1 captcha ban", "Ip:192.0.2.2", "Range:10.0.0.0/8", "2 added, 1 expired"}
	got, last := w.followed(0) // what has ended is nobody's though Expire was not called yet
	if !slices.Equal(got, want) || last != 5 {
		t.Errorf("up to %d: %q, want %q", last, got, want)
	}
	if _, err := w.Expire(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after a restart
		if got, last := w.followed(0); !slices.Equal(got, want) || last != 6 {
			t.Errorf("up to %d: %q, want %q", last, got, want)
		}
		if got, _ := w.followed(5); !slices.Equal(got, []string{"Ip:192.0.2.2", "0 added, 0 expired"}) {
			t.Errorf("behind the fifth change: %q", got)
		}
		w.reopen()
	}
	var keys []string
	seq, err := w.Keys(func(page []decisions.Key) error {
		for _, k := range page {
			keys = append(keys, k.String())
		}
		return nil
	})
	if slices.Sort(keys); err != nil || seq != 6 || !slices.Equal(slices.Compact(keys), []string{"Ip:192.0.2.1"}) {
		t.Errorf("keys %q up to %d, %v", keys, seq, err)
	}
	states, err := w.States([]decisions.Key{{Scope: "Ip", Value: "192.0.2.1"}, {Scope: "Range", Value: "10.0.0.0/8"}, {Scope: "Country", Value: "FR"}, {Scope: "Ip", Value: "nonsense"}})
	if err != nil || len(states) != 4 || len(states[0].Decisions) != 2 || len(states[1].Decisions)+len(states[2].Decisions)+len(states[3].Decisions) != 0 {
		t.Errorf("states %v, %v", states, err)
	}
	if err := w.Forget(6); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, known, err := w.Touched(3, 1000); known || err != nil {
			t.Errorf("what was forgotten is known: %v, %v", known, err)
		}
		w.reopen()
	}
}

func TestAFollowerIsToldInPagesAndWokenByEachChange(t *testing.T) {
	w := newWorld(t, nil)
	rung := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	changed := w.Changed()
	for i := range 5 {
		w.add("", w.ban(fmt.Sprintf("192.0.2.%d", i), time.Minute))
	}
	if !rung(changed) {
		t.Error("an addition wakes nobody")
	}
	first, known, err := w.Touched(0, 3)
	if err != nil || !known || len(first.Keys) != 3 || first.Last != 3 {
		t.Errorf("a page of three is %+v, %v, %v", first, known, err)
	}
	rest, _, err := w.Touched(first.Last, 3)
	if err != nil || len(rest.Keys) != 2 || rest.Last != 5 {
		t.Errorf("the rest is %+v, %v", rest, err)
	}
	if changed = w.Changed(); rung(changed) {
		t.Error("it is woken without a change")
	}
	if w.imports(0, 3, time.Minute); !rung(changed) {
		t.Error("an import wakes nobody")
	}
	changed = w.Changed()
	if _, err := w.Delete(&decisions.Filter{Value: "192.0.2.1"}); err != nil || !rung(changed) {
		t.Errorf("a removal wakes nobody, or %v", err)
	}
	changed = w.Changed()
	w.now = w.now.Add(time.Hour)
	if n, err := w.Expire(); err != nil || n != 7 || !rung(changed) {
		t.Errorf("%d ends wake nobody, or %v", n, err)
	}
}

func TestAFollowersPlaceAndTheStoresIdStay(t *testing.T) {
	w := newWorld(t, nil)
	if p, err := w.Place("kafka/x"); p != nil || err != nil {
		t.Errorf("a place that nobody kept is %q, %v", p, err)
	}
	if err := w.SetPlace("kafka/x", []byte("here")); err != nil {
		t.Fatal(err)
	}
	id, err := w.ID()
	if err != nil || len(id) < 16 {
		t.Errorf("the id is %q, %v", id, err)
	}
	w.reopen()
	again, err := w.ID()
	if err != nil || again != id {
		t.Errorf("the id is %q, then %q, %v", id, again, err)
	}
	if p, err := w.Place("kafka/x"); string(p) != "here" || err != nil {
		t.Errorf("the place is %q, %v", p, err)
	}
}
