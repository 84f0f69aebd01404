package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// imports imports n addresses from the nth on, for a time.
func (w *world) imports(from, n int, length time.Duration) Imported {
	w.t.Helper()
	out, err := w.Import("sluice", lapi.Alert{Scenario: "imported"}, func(add func(*decisions.Decision) error) error {
		for i := range n {
			d := w.ban(fmt.Sprintf("10.0.%d.%d", (from+i)>>8, (from+i)&255), length)
			if err := add(&d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// told lists what a bouncer learns that knows the changes up to a number.
func (w *world) told(since int64, dedup bool) (added, removed []string, last int64) {
	w.t.Helper()
	a, r, last, known := w.Index().Delta(since, &decisions.Filter{}, w.now, dedup)
	if !known {
		w.t.Fatalf("what happened since %d is not known", since)
	}
	names := func(ds []decisions.Decision) (out []string) {
		for _, d := range ds {
			out = append(out, d.Value)
		}
		return out
	}
	return names(a), names(r), last
}

func TestAListIsInForceOnceHoweverOftenItIsImported(t *testing.T) {
	w := newWorld(t, nil)
	const n = perWrite + 100
	if out := w.imports(0, n, time.Hour); out != (Imported{Added: n}) {
		t.Errorf("the first time %+v", out)
	}
	at := w.Index().Seq()
	if out := w.imports(0, n, time.Hour); out != (Imported{Kept: n}) || w.Index().Seq() != at {
		t.Errorf("the same again: %+v, changes up to %d after %d", out, w.Index().Seq(), at)
	}
	if out := w.imports(n-10, 20, 2*time.Hour); out != (Imported{Added: 10, Renewed: 10}) || w.Index().Len() != n+10 {
		t.Errorf("a later one: %+v, %d in force", out, w.Index().Len())
	}
	added, removed, _ := w.told(at, true)
	if len(added) != 20 || len(removed) != 0 {
		t.Errorf("a bouncer is told to add %v and remove %v", added, removed)
	}
	if added, removed, _ = w.told(at, false); len(added) != 20 || len(removed) != 10 {
		t.Errorf("one that wants all is told to add %v and remove %v", added, removed)
	}
	if out := w.imports(0, 10, time.Minute); out != (Imported{Kept: 10}) {
		t.Errorf("a shorter one: %+v", out)
	}
	before := w.inForce()
	w.reopen()
	if got := w.inForce(); !slices.Equal(got, before) {
		t.Errorf("after a restart %d are in force, want %d", len(got), len(before))
	}
	w.now = w.now.Add(90 * time.Minute)
	if _, err := w.Expire(); err != nil || w.Index().Len() != 20 {
		t.Errorf("at the end of the first %d are in force, %v", w.Index().Len(), err)
	}
	if err := w.Forget(w.Index().Seq()); err != nil {
		t.Fatal(err)
	}
	before = w.inForce()
	w.reopen()
	if got := w.inForce(); !slices.Equal(got, before) {
		t.Errorf("once the others are forgotten %v are in force, want %v", got, before)
	}
}

// TestAnImportThatStopsHalfway leaves what came before, and is made good by the next.
func TestAnImportThatStopsHalfway(t *testing.T) {
	w := newWorld(t, nil)
	cut := errors.New("the line was cut")
	out, err := w.Import("sluice", lapi.Alert{}, func(add func(*decisions.Decision) error) error {
		for i := range perWrite + 10 {
			d := w.ban(fmt.Sprintf("10.0.%d.%d", i>>8, i&255), time.Hour)
			if err := add(&d); err != nil {
				return err
			}
		}
		return cut
	})
	if !errors.Is(err, cut) || out != (Imported{Added: perWrite}) {
		t.Errorf("%+v, %v", out, err)
	}
	w.reopen()
	if out := w.imports(0, perWrite+10, time.Hour); out != (Imported{Added: 10, Kept: perWrite}) {
		t.Errorf("the second time %+v", out)
	}
}

func TestAnImportHeedsAllowListsAndEnds(t *testing.T) {
	w := newWorld(t, nil)
	if _, _, err := w.ChangeAllowlist("ours", AllowlistChange{Add: []Allowed{{Value: "10.0.0.0/29"}}}); err != nil {
		t.Fatal(err)
	}
	if out := w.imports(0, 10, time.Hour); out != (Imported{Added: 2, Allowed: 8}) {
		t.Errorf("%+v", out)
	}
	if out := w.imports(10, 10, 0); out != (Imported{Over: 10}) {
		t.Errorf("%+v", out)
	}
	ids := 0
	if err := w.Alerts(func(a *Alert) bool {
		ids++
		if a.Many != 2 || len(a.Decisions) != 2 || !w.InForce(w.now).Has(a) {
			t.Errorf("the alert is %+v", a)
		}
		return true
	}); err != nil || ids != 1 {
		t.Errorf("%d alerts, %v; what adds nothing has none", ids, err)
	}
}

// TestAnAlertWithManyDecisions is shown with the first of them, and takes all of them with it.
func TestAnAlertWithManyDecisions(t *testing.T) {
	w := newWorld(t, nil)
	w.add("before", w.ban("192.0.2.1", time.Hour))
	ds := make([]decisions.Decision, 2*perWrite+1)
	for i := range ds {
		ds[i] = w.ban(fmt.Sprintf("10.0.%d.%d", i>>8, i&255), time.Hour)
	}
	id := w.add("many", ds...)
	w.imports(len(ds), perWrite, time.Hour)
	w.reopen()
	a, err := w.Alert(id)
	if err != nil || a.Many != len(ds) || len(a.Decisions) != maxListed || a.Decisions[0].Value != "10.0.0.0" || !w.InForce(w.now).Has(a) {
		t.Fatalf("the alert has %d decisions, %d of them shown, %v", a.Many, len(a.Decisions), err)
	}
	if n, err := w.DeleteAlerts([]int64{id}); n != 1 || err != nil || w.Index().Len() != perWrite+1 {
		t.Errorf("deleted %d, %v; %d decisions", n, err, w.Index().Len())
	}
	if w.InForce(w.now).Has(a) {
		t.Error("its decisions are in force still")
	}
}

// TestWhichImportsAreInForceIsLookedUpOnce asks about several, and finds of each what was so at the first.
func TestWhichImportsAreInForceIsLookedUpOnce(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 70 { // more than bits of a word
		w.imports(10*i, 1+i%2, time.Duration(1+i%3)*time.Hour)
	}
	w.now = w.now.Add(time.Hour)
	var all []*Alert
	if err := w.Alerts(func(a *Alert) bool { all = append(all, a); return true }); err != nil || len(all) != 70 {
		t.Fatalf("%d alerts, %v", len(all), err)
	}
	in := w.InForce(w.now)
	for _, now := range []*InForce{in, in, w.InForce(w.now)} {
		there := 0
		for _, a := range all {
			has := now.Has(a)
			if has {
				there++
			}
			if now == in && has != ((a.ID-1)%3 > 0) {
				t.Errorf("alert %d is in force: %v", a.ID, has)
			}
		}
		if now != in && there > 0 {
			t.Errorf("%d are in force when all is withdrawn", there)
		}
		if _, err := w.Delete(&decisions.Filter{}); err != nil {
			t.Fatal(err)
		}
	}
}
