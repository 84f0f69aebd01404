package simulation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/cmd/internal/app"
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
)

// missing says what is not through yet, "" when everything is.
func (w *world) missing() string {
	for id := range w.plan.partitions {
		if p := partition(id); w.broker.at(p) != w.broker.end(p) {
			return fmt.Sprintf("%s is committed up to %d and ends at %d", p, w.broker.at(p), w.broker.end(p))
		}
	}
	for _, m := range w.members {
		durable := m.durable()
		for _, p := range m.parts {
			if end := w.broker.end(p); durable[p] != end {
				return fmt.Sprintf("%s is durable up to %d and ends at %d", p, durable[p], end)
			}
		}
		if m.pending() {
			return fmt.Sprintf("member %d: an alert waits for its look-up", m.index)
		}
		m.mu.Lock()
		for sink, want := range m.outbox {
			if got := len(m.got[sink]); got != len(want) {
				first := firstDifference(m.got[sink], want)
				m.mu.Unlock()
				return fmt.Sprintf("member %d: sink %s has %d of %d, the first that differs is %s", m.index, sink, got, len(want), first)
			}
		}
		m.mu.Unlock()
	}
	return ""
}

// pending tells whether alerts wait for look-ups in the state.
func (m *member) pending() bool {
	_, records, err := m.disk.records()
	if err != nil {
		m.w.fail("member %d: %v", m.index, err)
	}
	for k := range records {
		if state.Kind(k[0]) == state.KindPending {
			return true
		}
	}
	return false
}

// checkSinks holds what sinks got to the outboxes.
func (w *world) checkSinks() {
	for _, m := range w.members {
		for sink, want := range m.outbox {
			if got := m.got[sink]; !slices.Equal(got, want) {
				w.fail("member %d, sink %s: %d came, %d were to come; the first that differs is %s", m.index, sink, len(got), len(want), firstDifference(got, want))
			}
		}
	}
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("number %d: %s instead of %s", i, a[i], b[i])
		}
	}
	if len(a) > len(b) {
		return "too many: " + a[len(b)]
	}
	if len(b) > len(a) {
		return "missing: " + b[len(a)]
	}
	return "none"
}

// checkDisks has the disks look at what they hold.
func (w *world) checkDisks() {
	for _, m := range w.members {
		if err := m.disk.close(); err != nil {
			w.fail("member %d: %v", m.index, err)
		}
	}
}

// result is what is compared with the uninterrupted run.
type result struct {
	alerts map[string]string // content by id
	dead   []string          // positions, sorted
	state  []string          // described records, sorted
}

// result gathers what all members came to.
func (w *world) result() result {
	r := result{alerts: maps.Clone(w.content)}
	for _, m := range w.members {
		dict, records, err := m.disk.records()
		if err != nil {
			w.fail("member %d: %v", m.index, err)
			return r
		}
		lines, err := app.DescribeRecords(dict, func(f func(k, v []byte, sum state.Sum) error) error { return eachRecord(records, f) })
		if err != nil {
			w.fail("member %d: %v", m.index, err)
			return r
		}
		for _, l := range lines {
			if w.isHome(m, l) {
				r.state = append(r.state, string(l))
			}
		}
		r.state = w.ranked(r.state)
		r.dead = append(r.dead, m.got[outbox.DeadLettersName]...)
	}
	slices.Sort(r.state)
	slices.Sort(r.dead)
	return r
}

// isHome tells whether a record of state is of the member whose state its
// partition belongs to: in a group, others may have begun it in vain.
func (w *world) isHome(m *member, line []byte) bool {
	if !w.plan.isGroup() {
		return true
	}
	var r struct {
		Partition, Position string
		FedBy               string `json:"fed_by"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		w.fail("a record cannot be read: %v", err)
	}
	for id := range w.plan.partitions {
		p := partition(id)
		if name := p.String(); r.Partition == name || r.FedBy == name {
			return len(w.group.history[p]) > 0 && w.group.history[p][0].state == m.stateName
		}
	}
	return true
}

// ranked gives the entries of stashes their places in the order of use
// instead of the counts, of which a restart forgets those that are gone.
func (w *world) ranked(lines []string) []string {
	type entry struct {
		record map[string]any
		use    float64
	}
	stashes := make(map[string][]entry)
	var out []string
	for _, l := range lines {
		var r map[string]any
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			w.fail("a record cannot be read: %v", err)
		}
		use, ok := r["last_use"].(float64)
		if !ok {
			out = append(out, l)
			continue
		}
		name := fmt.Sprint(r["partition"], " ", r["stash"])
		stashes[name] = append(stashes[name], entry{r, use})
	}
	for _, entries := range stashes {
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.use, b.use) })
		for i, e := range entries {
			e.record["last_use"] = i
			text, err := json.Marshal(e.record)
			if err != nil {
				w.fail("a record cannot be written: %v", err)
			}
			out = append(out, string(text))
		}
	}
	return out
}

// checkResult holds a result to that of the uninterrupted run.
func (w *world) checkResult(got, want result) {
	if w.plan.mode == modeGroup && w.plan.missing != "wait" {
		return // state was given up on the way: what was delivered is checked where it is
	}
	if d := firstDifference(got.dead, want.dead); d != "none" {
		w.fail("dead letters: %s", d)
	}
	if w.plan.mode == modeSpread {
		w.checkCounts(got)
		return
	}
	for id, content := range want.alerts {
		switch g, ok := got.alerts[id]; {
		case !ok:
			w.fail("alert %s is missing: %s", id, content)
		case g != content:
			w.fail("alert %s is\n%s\ninstead of\n%s", id, g, content)
		}
	}
	for id, content := range got.alerts {
		if _, ok := want.alerts[id]; !ok {
			w.fail("alert %s is too many: %s", id, content)
		}
	}
	ours, theirs := w.comparable(got.state), w.comparable(want.state)
	if d := firstDifference(ours, theirs); d != "none" {
		w.fail("%d records of state, want %d: %s", len(ours), len(theirs), d)
	}
}

// comparable leaves out the ledger of decisions where it is no function of
// the records: its clock is that of all partitions together.
func (w *world) comparable(lines []string) []string {
	if w.plan.mode != modeGroup && !w.plan.late && (w.plan.mode == modeMerged || w.plan.partitions == 1) {
		return lines
	}
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Contains(l, `"kind":"decisions"`) })
}

// checkCounts: every line counted once, whatever the order of partitions.
func (w *world) checkCounts(got result) {
	want, perAddress := make(map[string]bool), make(map[string]int)
	lines := 0
	for p, log := range w.broker.log {
		for _, r := range log {
			fields := strings.Fields(string(r.Value))
			if len(fields) != 4 || fields[1] == "err" {
				continue
			}
			lines++
			want[pipeline.Position{Partition: p, Offset: r.Offset}.String()] = true
			perAddress[fields[2]]++
		}
	}
	for _, content := range got.alerts {
		var a pipeline.Alert
		if err := json.Unmarshal([]byte(content), &a); err != nil {
			w.fail("an alert cannot be read: %v", err)
			return
		}
		switch a.Scenario {
		case "sim/every":
			if at := a.Sluice.Cause.String(); !want[at] {
				w.fail("line %s alerts, and twice or without reason", at)
			} else {
				delete(want, at)
			}
		case "sim/tens":
			perAddress[a.Sluice.Key] -= int(a.EventsCount)
		}
	}
	for at := range want {
		w.fail("line %s makes no alert", at)
	}
	total := 0
	for _, l := range got.state {
		var b struct {
			Kind, Scenario, Key string
			Count               int
		}
		if err := json.Unmarshal([]byte(l), &b); err != nil {
			w.fail("a record cannot be read: %v", err)
			return
		}
		if b.Kind != "bucket" {
			continue
		}
		switch b.Scenario {
		case "sim/total":
			total += b.Count
		case "sim/tens":
			perAddress[b.Key] -= b.Count
		}
	}
	if total != lines {
		w.fail("%d lines were counted of %d", total, lines)
	}
	for address, n := range perAddress {
		if n != 0 {
			w.fail("address %s has %d lines that count nowhere", address, n)
		}
	}
}
