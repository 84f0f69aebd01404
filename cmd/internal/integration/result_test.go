//go:build integration

package integration

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// result is what a run left behind.
type result struct {
	alerts  map[string]string // JSON by id
	repeats int               // alerts that came again, with the same id
	// state is each instance's export: how often each record is in it.
	state []map[string]int
}

// alertsOf reads the alerts of a topic. The same id with another content is an error.
func (b *broker) alertsOf(ctx context.Context, topic string) (map[string]string, int, error) {
	records, err := b.readAll(ctx, topic, 1)
	if err != nil {
		return nil, 0, err
	}
	alerts, repeats := make(map[string]string), 0
	for _, r := range records {
		switch before, again := alerts[r.id]; {
		case !again:
			alerts[r.id] = r.value
		case before != r.value:
			return nil, 0, fmt.Errorf("alert %s came twice and differs:\n%s\n%s", r.id, before, r.value)
		default:
			repeats++
		}
	}
	return alerts, repeats, nil
}

// export returns an instance's state, record by record.
func (in *instance) export(ctx context.Context) (map[string]int, error) {
	text, err := sluice(ctx, "state", "export", "--state", in.State())
	if err != nil {
		return nil, err
	}
	var records []map[string]any
	for line := range bytes.Lines(text) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("the export of %s: %w in %s", in.Name, err, line)
		}
		records = append(records, r)
	}
	rankUses(records)
	out := make(map[string]int)
	for _, r := range records {
		canonical, err := json.Marshal(r) // keys in order
		if err != nil {
			return nil, err
		}
		out[string(canonical)]++
	}
	return out, nil
}

// rankUses puts ranks in place of the counts by which stashes know what was
// used last. The order is what matters: a restart begins counting at the
// highest that is still in the stash.
func rankUses(records []map[string]any) {
	stashes := make(map[string][]map[string]any)
	for _, r := range records {
		if r["last_use"] != nil {
			stash := fmt.Sprint(r["partition"], r["stash"])
			stashes[stash] = append(stashes[stash], r)
		}
	}
	for _, entries := range stashes {
		slices.SortFunc(entries, func(a, b map[string]any) int {
			return cmp.Compare(a["last_use"].(float64), b["last_use"].(float64))
		})
		for i, r := range entries {
			r["last_use"] = i
		}
	}
}

// collect ends the instances in good order and gathers what they left.
func (s *setup) collect(ctx context.Context, instances []*instance) (*result, error) {
	for _, in := range instances {
		if err := in.Stop(); err != nil {
			return nil, err
		}
	}
	r := &result{}
	var err error
	if r.alerts, r.repeats, err = s.broker.alertsOf(ctx, s.alerts); err != nil {
		return nil, err
	}
	for _, in := range instances {
		if !s.durable {
			break
		}
		state, err := in.export(ctx)
		if err != nil {
			return nil, err
		}
		r.state = append(r.state, state)
	}
	return r, nil
}

// uninterrupted runs the setup again on the same topic, with a group, state
// and alerts of its own, from the first record to the last.
func (s *setup) uninterrupted(t testing.TB, instances int) *result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ref := *s
	ref.group = fmt.Sprintf("%s-again-%d", s.group, time.Now().UnixNano())
	ref.alerts = ref.group + "-alerts"
	s.createTopic(t, ref.alerts, 1, byArrival)
	var all []*instance
	for i := range instances {
		in := ref.newInstance(t, fmt.Sprintf("again-%d", i), i, instances)
		if err := in.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	if err := ref.caughtUp(ctx, all); err != nil {
		t.Fatal(err)
	}
	r, err := ref.collect(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// same fails the test with the first differences between two runs.
func same(t *testing.T, got, want *result) {
	t.Helper()
	differ(t, "alert", count(got.alerts), count(want.alerts), func(id string) string {
		if a, ok := want.alerts[id]; ok {
			return a
		}
		return got.alerts[id]
	})
	for id, a := range got.alerts {
		if b, ok := want.alerts[id]; ok && a != b {
			t.Errorf("alert %s differs:\n%s\nuninterrupted:\n%s", id, a, b)
			break // one shows the kind
		}
	}
	if len(got.state) != len(want.state) {
		t.Fatalf("%d states, want %d", len(got.state), len(want.state))
	}
	for i := range got.state {
		differ(t, fmt.Sprintf("state of instance %d: record", i), got.state[i], want.state[i], func(r string) string { return r })
	}
}

func count(alerts map[string]string) map[string]int {
	out := make(map[string]int, len(alerts))
	for id := range alerts {
		out[id] = 1
	}
	return out
}

// differ reports where two multisets differ, the shortest differences first.
func differ(t *testing.T, what string, got, want map[string]int, show func(string) string) {
	t.Helper()
	var lines []string
	for key, n := range want {
		if m := got[key]; m < n {
			lines = append(lines, fmt.Sprintf("%s is missing (%d of %d): %s", what, m, n, show(key)))
		}
	}
	for key, n := range got {
		if m := want[key]; m < n {
			lines = append(lines, fmt.Sprintf("%s is too many (%d, want %d): %s", what, n, m, show(key)))
		}
	}
	if len(lines) == 0 {
		return
	}
	slices.SortFunc(lines, func(a, b string) int { return len(a) - len(b) })
	t.Errorf("%d differences, such as:\n%s", len(lines), strings.Join(lines[:min(4, len(lines))], "\n"))
}

// scenarios says how many alerts each scenario gave, for a log that shows a test tests something.
func (r *result) scenarios() string {
	n := make(map[string]int)
	for _, a := range r.alerts {
		var alert struct{ Scenario string }
		if json.Unmarshal([]byte(a), &alert) == nil {
			n[alert.Scenario]++
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, " %s=%d", name, n[name])
	}
	return strings.TrimSpace(b.String())
}
