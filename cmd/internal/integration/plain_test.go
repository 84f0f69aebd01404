//go:build integration

package integration

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// TestTwoRunsAreTheSame holds the harness itself to its word: without any
// fault, two runs over one topic give the same alerts.
func TestTwoRunsAreTheSame(t *testing.T) {
	t.Run("starter rules, keys in one partition each", func(t *testing.T) {
		twice(t, starter(), logs(rig.Seed(t), 20_000, 4, byKey), 4)
	})
	t.Run("the whole hub on one partition", func(t *testing.T) {
		twice(t, wholeHub(t), hubLogs(t, rig.Seed(t), 20_000, 1, byKey), 1)
	})
}

// twice runs the rules on the records by one instance, and by one for each
// half of the partitions where there are halves.
func twice(t *testing.T, rules map[string]any, records []record, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := parts.broker.newSetup(t, partitions, rules)
	s.produce(ctx, t, records, 0)
	one, two := s.uninterrupted(t, 1), s.uninterrupted(t, min(partitions, 2))
	same(t, one, two)
	if len(one.alerts) < 100 {
		t.Errorf("only %d alerts", len(one.alerts))
	}
	t.Log(one.scenarios())
}

// TestCountedLines holds the checks on lines that name themselves to a run
// without faults, and to runs that are wrong.
func TestCountedLines(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	records := counted(rig.Seed(t), 5000, 40, 4, true)
	s := parts.broker.newSetup(t, 4, counting())
	s.produce(ctx, t, records, 0)
	r := s.uninterrupted(t, 1)
	report(t, once(r, records))
	report(t, possible(r, records))
	t.Log(r.scenarios())
	wrongs := map[string]func(alerts map[string]string, fives []*countedAlert){
		"an alert is lost": func(alerts map[string]string, fives []*countedAlert) { delete(alerts, fives[0].id) },
		"an alert is made twice": func(alerts map[string]string, fives []*countedAlert) {
			alerts["again"] = alerts[fives[0].id]
		},
		"a line of the future is counted in place of one of its own": func(alerts map[string]string, fives []*countedAlert) {
			alerts[fives[0].id] = strings.Replace(alerts[fives[0].id], `"value":"`+fives[0].lines()[0]+`"`, `"value":"4999"`, 1)
		},
	}
	for name, spoil := range wrongs {
		spoiled := &result{alerts: maps.Clone(r.alerts)}
		fives, _, err := r.counted()
		if err != nil {
			t.Fatal(err)
		}
		spoil(spoiled.alerts, fives)
		if len(possible(spoiled, records)) == 0 {
			t.Errorf("the check does not see that %s", name)
		}
	}
}
