//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// counting are the rules of testdata, on lines that name themselves: each of
// them can be found in the alert or the bucket that holds it.
func counting() map[string]any {
	return map[string]any{
		"roots": []string{
			filepath.Join(parts.root, "configs", "rules"),
			filepath.Join(parts.root, "cmd", "internal", "integration", "testdata", "rules"),
		},
		"parsers":   []string{"test/counted", "sluice/dateparse"},
		"scenarios": []string{"test/every-five", "test/each-tenth"},
		"strict":    true,
	}
}

// countedLine is the nth line of a test, about a key.
func countedLine(n int, key string, at time.Time) string {
	return fmt.Sprintf("%s key=%s n=%d", at.Format(time.RFC3339Nano), key, n)
}

// counted returns n lines about random keys; spread keys are in all
// partitions, others in one each.
func counted(seed uint64, n, keys, partitions int, spread bool) []record {
	rng := rand.New(rand.NewPCG(seed, 3))
	var out []record
	for i := range n {
		k := rng.IntN(keys)
		p := int32(k % partitions)
		if spread {
			p = int32(rng.IntN(partitions))
		}
		at, key := begin.Add(time.Duration(i)*10*time.Millisecond), fmt.Sprintf("key-%d", k)
		out = append(out, record{p, key, "counted", countedLine(i, key, at), at})
	}
	return closing(out, partitions, 2*time.Minute)
}

// countedAlert is what the tests read of an alert.
type countedAlert struct {
	id       string
	Scenario string
	Events   []struct {
		Meta []struct{ Key, Value string }
	}
	Sluice struct{ Key string }
}

// lines returns the numbers of the lines in an alert.
func (a *countedAlert) lines() []string {
	var out []string
	for _, e := range a.Events {
		for _, m := range e.Meta {
			if m.Key == "n" {
				out = append(out, m.Value)
			}
		}
	}
	return out
}

// counted returns the alerts of the two scenarios.
func (r *result) counted() (fives, tenths []*countedAlert, err error) {
	for id, text := range r.alerts {
		a := &countedAlert{id: id}
		if err := json.Unmarshal([]byte(text), a); err != nil {
			return nil, nil, fmt.Errorf("alert %s: %w", id, err)
		}
		switch a.Scenario {
		case "test/every-five":
			fives = append(fives, a)
		case "test/each-tenth":
			tenths = append(tenths, a)
		default:
			return nil, nil, fmt.Errorf("alert %s is of %s", id, a.Scenario)
		}
	}
	return fives, tenths, nil
}

// tally is the lines of one key: by partition, in order.
type tally struct {
	byPartition map[int32][]string
	total       int
}

func tallies(records []record) (map[string]*tally, int) {
	keys, tens := make(map[string]*tally), 0
	n := 0
	for _, r := range records {
		if r.kind != "counted" {
			continue
		}
		k := keys[r.key]
		if k == nil {
			k = &tally{byPartition: make(map[int32][]string)}
			keys[r.key] = k
		}
		k.byPartition[r.partition] = append(k.byPartition[r.partition], fmt.Sprint(n))
		k.total++
		if n%10 == 0 {
			tens++
		}
		n++
	}
	return keys, tens
}

// once returns what is wrong with a run in which no line may be in two alerts
// of one scenario, and every line that is to make an alert of its own makes it.
func once(r *result, records []record) (wrong []string) {
	fives, tenths, err := r.counted()
	if err != nil {
		return []string{err.Error()}
	}
	seen := make(map[string]string)
	for _, a := range fives {
		lines := a.lines()
		if len(lines) != 5 {
			wrong = append(wrong, fmt.Sprintf("alert %s holds the lines %v, want 5", a.id, lines))
		}
		for _, n := range lines {
			if other := seen[n]; other != "" {
				wrong = append(wrong, fmt.Sprintf("line %s is in the alerts %s and %s", n, other, a.id))
			}
			seen[n] = a.id
		}
	}
	own := make(map[string]bool)
	for _, a := range tenths {
		own[fmt.Sprint(a.lines())] = true
	}
	if _, tens := tallies(records); len(own) != tens || len(tenths) != tens {
		wrong = append(wrong, fmt.Sprintf("%d lines have made %d alerts of their own, want %d", len(own), len(tenths), tens))
	}
	return wrong
}

// possible returns what is wrong with a run whose alerts must be those of
// some order in which the partitions were read, with none missing.
func possible(r *result, records []record) (wrong []string) {
	fives, _, err := r.counted()
	if err != nil {
		return []string{err.Error()}
	}
	byKey := make(map[string][]*countedAlert)
	for _, a := range fives {
		byKey[a.Sluice.Key] = append(byKey[a.Sluice.Key], a)
	}
	keys, _ := tallies(records)
	for key, k := range keys {
		alerts := byKey[key]
		if len(alerts) != k.total/5 {
			wrong = append(wrong, fmt.Sprintf("%s has %d alerts for %d lines, want %d", key, len(alerts), k.total, k.total/5))
		}
		// Taking an alert whose lines are next in their partitions never
		// stands in the way of another, since no line is in two.
		for len(alerts) > 0 {
			i := slices.IndexFunc(alerts, func(a *countedAlert) bool { return k.take(a.lines()) })
			if i < 0 {
				wrong = append(wrong, fmt.Sprintf("%s: no order gives alert %s with the lines %v", key, alerts[0].id, alerts[0].lines()))
				break
			}
			alerts = slices.Delete(alerts, i, i+1)
		}
	}
	return wrong
}

// report fails the test with what is wrong, the first few of it.
func report(t *testing.T, wrong []string) {
	t.Helper()
	for i, w := range wrong {
		if i == 5 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(w)
	}
}

// take removes lines from the heads of the partitions if they are all there.
func (k *tally) take(lines []string) bool {
	left := slices.Clone(lines)
	counts := make(map[int32]int)
	for p, queue := range k.byPartition {
		for counts[p] < len(queue) {
			i := slices.Index(left, queue[counts[p]])
			if i < 0 {
				break
			}
			left = slices.Delete(left, i, i+1)
			counts[p]++
		}
	}
	if len(left) > 0 {
		return false
	}
	for p, n := range counts {
		k.byPartition[p] = k.byPartition[p][n:]
	}
	return true
}
