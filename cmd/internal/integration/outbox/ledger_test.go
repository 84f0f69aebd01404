//go:build integration

package outbox

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// delivery is an alert that has arrived.
type delivery struct {
	id   string
	line int  // that made it
	run  int  // the start of sluice that delivered it, from 1
	lost bool // the sender was told that it did not arrive
}

// ledger is what has arrived, in order.
type ledger []delivery

// repeats is how many deliveries repeat one that was acknowledged, by the run
// whose end they are charged to, and how many one whose answer was lost.
type repeats struct {
	byKill map[int]int
	lost   int
	total  int
}

// most returns the most that one kill cost.
func (r *repeats) most() int {
	most := 0
	for _, n := range r.byKill {
		most = max(most, n)
	}
	return most
}

// check returns what is wrong: the lines 0 to n-1 must have arrived, and no
// others, each under one id, and no alert twice within a run but for lost answers.
func (l ledger) check(n int) (out repeats, wrong []string) {
	out.byKill = make(map[int]int)
	last := make(map[string]delivery)
	ids := make(map[int]map[string]bool)
	for _, d := range l {
		if ids[d.line] == nil {
			ids[d.line] = make(map[string]bool)
		}
		ids[d.line][d.id] = true
		before, again := last[d.id]
		last[d.id] = d
		switch {
		case !again:
			continue
		case before.lost:
			out.lost++
		case before.run == d.run:
			wrong = append(wrong, fmt.Sprintf("alert %s of line %d was acknowledged, and delivered again in run %d", d.id, d.line, d.run))
		default:
			out.byKill[before.run]++
		}
		out.total++
	}
	var missing []int
	for line := range n {
		switch len(ids[line]) {
		case 0:
			missing = append(missing, line)
		case 1:
		default:
			wrong = append(wrong, fmt.Sprintf("line %d has made alerts with different ids: %v", line, slices.Sorted(maps.Keys(ids[line]))))
		}
	}
	if len(missing) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d alerts did not arrive, such as those of the lines %v", len(missing), n, missing[:min(10, len(missing))]))
	}
	if len(ids)+len(missing) > n {
		wrong = append(wrong, fmt.Sprintf("alerts of %d lines arrived, and %d were written", len(ids), n))
	}
	return out, wrong
}

// arrived is what is read of an alert.
type arrived struct {
	UUID   string
	Events []struct {
		Meta []struct{ Key, Value string }
	}
}

// line returns the number of the line that made the alert.
func (a *arrived) line() (int, error) {
	for _, e := range a.Events {
		for _, m := range e.Meta {
			if m.Key == "n" {
				return strconv.Atoi(m.Value)
			}
		}
	}
	return 0, fmt.Errorf("no event of alert %s has a number", a.UUID)
}

// TestTheLedgerFindsWhatIsWrong gives the check what it must not let pass.
func TestTheLedgerFindsWhatIsWrong(t *testing.T) {
	good := ledger{{"a", 0, 1, false}, {"b", 1, 1, true}, {"b", 1, 1, false}, {"a", 0, 2, false}, {"c", 2, 2, false}}
	if r, wrong := good.check(3); r.total != 2 || r.lost != 1 || r.byKill[1] != 1 || r.most() != 1 || wrong != nil {
		t.Errorf("%+v, %v", r, wrong)
	}
	for want, l := range map[string]ledger{
		"did not arrive":            good[:4],
		"different ids":             append(slices.Clone(good), delivery{"d", 2, 2, false}),
		"delivered again in run 2":  append(slices.Clone(good), delivery{"c", 2, 2, false}),
		"of 4 lines arrived, and 3": append(slices.Clone(good), delivery{"d", 3, 2, false}),
	} {
		if _, wrong := l.check(3); len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("it says %q, want %q", wrong, want)
		}
	}
}
