package decide_test

import (
	"strconv"
	"testing"
	"time"

	"sluice/stages/decide"
)

type counts struct {
	all, hour, active int
	left              time.Duration
}

func look(t *testing.T, l *decide.Ledger, value string) counts {
	t.Helper()
	var c counts
	var errs [4]error
	c.all, errs[0] = l.Count(value)
	c.hour, errs[1] = l.SinceCount(value, time.Hour)
	c.active, errs[2] = l.ActiveCount(value)
	c.left, errs[3] = l.ActiveTimeLeft(value)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestTheLedgerCountsByEventTime(t *testing.T) {
	d, l := mustDecider(t, decide.Profile{Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban", Duration: "2h"}}})
	at := func(value string, after time.Duration) { d.Decide(alert("Ip", value, stop.Add(after))) }
	check := func(when string, want counts) {
		t.Helper()
		if got := look(t, l, "a"); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	check("nothing was decided", counts{})
	at("a", 0)
	check("after the first", counts{1, 1, 1, 2 * time.Hour})
	at("a", time.Hour)
	check("an hour later, to the instant", counts{2, 2, 2, 2 * time.Hour})
	at("b", 2*time.Hour)
	check("when the first ran out", counts{2, 1, 1, time.Hour})
	at("a", -time.Hour) // a late alert does not turn the clock back
	check("after one that came late", counts{3, 1, 1, time.Hour})
	at("b", 24*time.Hour)
	check("a day later", counts{3, 0, 0, 0})
}

func TestSimulatedDecisionsDoNotCount(t *testing.T) {
	d, l := mustDecider(t, decide.Profile{Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban", Simulated: true}, {Type: "captcha"}}})
	d.Decide(alert("Ip", "a", stop))
	if got := look(t, l, "a").all; got != 1 {
		t.Errorf("%d decisions count, want 1", got)
	}
}

func TestTheLedgerIsBounded(t *testing.T) {
	d, l := mustDecider(t, decide.Profile{Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban"}}})
	for i := range 1100 {
		d.Decide(alert("Ip", "busy", stop.Add(time.Duration(i)*time.Second)))
	}
	if got := look(t, l, "busy").all; got != 1000 {
		t.Errorf("%d decisions of a value are remembered, want the latest 1000", got)
	}
	d.Decide(alert("Ip", "first", stop))
	for i := range 100_000 {
		if i == 50_000 {
			d.Decide(alert("Ip", "busy", stop.Add(time.Hour)))
		}
		d.Decide(alert("Ip", strconv.Itoa(i), stop))
	}
	for value, want := range map[string]int{"first": 0, "0": 0, "1": 1, "99999": 1, "busy": 1000} {
		if got := look(t, l, value).all; got != want {
			t.Errorf("%d decisions about %s are remembered, want %d: who was decided on longest ago goes first", got, value, want)
		}
	}
}
