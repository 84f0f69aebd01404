package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/pipeline/decisions"
)

// TestAlertsInForceAreNotLookedAtForEachThatComes has more alerts with
// decisions in force than are to be kept: nothing can go, and few of those that come have all others read.
func TestAlertsInForceAreNotLookedAtForEachThatComes(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxAlerts = 50 })
	looks, due := 0, 0
	for i := range 200 {
		w.add(fmt.Sprint(i), w.ban(fmt.Sprintf("192.0.2.%d", i), time.Hour))
		if w.trim.due != due {
			due = w.trim.due
			looks++
		}
	}
	if w.kept != 200 || looks == 0 || looks > 200/5 {
		t.Errorf("%d are kept after %d looks", w.kept, looks)
	}
	w.now = w.now.Add(time.Hour)
	for i := range 10 {
		w.add(fmt.Sprint("later", i))
	}
	if w.kept > 60 {
		t.Errorf("%d are kept when none is in force", w.kept)
	}
}

// TestThousandsOfAlertsAreDeletedAtOnce deletes more than go in one write, one with many decisions among them.
func TestThousandsOfAlertsAreDeletedAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	var ids []int64
	for i := range perDrop + 50 {
		ids = append(ids, w.add(fmt.Sprint(i), w.ban(fmt.Sprintf("192.0.2.%d", i%250), time.Hour)))
	}
	many := make([]decisions.Decision, maxListed+1)
	for i := range many {
		many[i] = w.ban(fmt.Sprintf("10.0.%d.%d", i>>8, i&255), time.Hour)
	}
	ids = append(ids, w.add("many", many...), 1<<40)
	stays := w.add("stays", w.ban("198.51.100.1", time.Hour))
	if n, err := w.DeleteAlerts(ids); n != len(ids)-1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	for range 2 {
		var left []int64
		if err := w.Alerts(func(a *Alert) bool { left = append(left, a.ID); return true }); err != nil || !slices.Equal(left, []int64{stays}) || w.kept != 1 || w.index.Len() != 1 {
			t.Errorf("left are alerts %v, counted as %d, and %d decisions, %v", left, w.kept, w.index.Len(), err)
		}
		w.reopen()
	}
}

// TestTheNumberOfAnAlertIsNeverAnothers deletes the newest alerts before a restart.
func TestTheNumberOfAnAlertIsNeverAnothers(t *testing.T) {
	w := newWorld(t, nil)
	w.add("stays")
	gone := []int64{w.add("a"), w.add("b")}
	if n, err := w.DeleteAlerts(gone); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	w.reopen()
	if id := w.add("c"); id != 4 {
		t.Errorf("a new alert is %d", id)
	}
	w.reopen()
	if id := w.add("d"); id != 5 {
		t.Errorf("the next is %d", id)
	}
}
