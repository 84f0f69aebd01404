package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Tally is how often each line was poured: the ids of its alerts.
type Tally map[int]map[string]bool

// tallied is what is read of an alert.
type tallied struct {
	UUID   string
	Events []struct {
		Meta []struct{ Key, Value string }
	}
}

// tally reads the file of the alerts. Alerts that were delivered again have
// the id that they had and count once. The last line may be half written.
func (in *Instance) tally() (Tally, error) {
	text, err := os.ReadFile(in.AlertsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make(Tally)
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var a tallied
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("%s: %w in %s", in.AlertsFile(), err, line)
		}
		n, err := a.number()
		if err != nil {
			return nil, fmt.Errorf("%s: %w in %s", in.AlertsFile(), err, line)
		}
		if out[n] == nil {
			out[n] = make(map[string]bool)
		}
		out[n][a.UUID] = true
	}
	return out, nil
}

// number returns the number of the line that made the alert.
func (a *tallied) number() (int, error) {
	for _, e := range a.Events {
		for _, m := range e.Meta {
			if m.Key == "n" {
				return strconv.Atoi(m.Value)
			}
		}
	}
	return 0, errors.New("no event has a number")
}

// Tally returns what was poured so far, as far as its alerts have come out.
func (in *Instance) Tally(t testing.TB) Tally {
	t.Helper()
	tally, err := in.tally()
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

// Drained waits until n different lines have made their alerts.
func (in *Instance) Drained(t testing.TB, n int) {
	t.Helper()
	in.await(t, "the alerts of all lines", n, func(y Tally) int { return len(y) })
}

// Poured waits until lines were poured n times in all: one that is poured twice counts twice.
func (in *Instance) Poured(t testing.TB, n int) {
	t.Helper()
	in.await(t, "the alerts of all that is poured", n, func(y Tally) (times int) {
		for _, ids := range y {
			times += len(ids)
		}
		return times
	})
}

// await waits until what count finds in the tally is as much as wanted: for minutes, so
// that a machine that is busy with other things is not taken for a loss.
func (in *Instance) await(t testing.TB, what string, want int, count func(Tally) int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	have, tally := 0, Tally(nil)
	err := Poll(ctx, what, func() (done bool, err error) {
		tally, err = in.tally()
		if have = count(tally); err != nil || have >= want {
			return have >= want, err
		}
		return false, in.Ended()
	})
	if err != nil {
		t.Fatalf("%d of %d have made alerts: %v; lines that have made none: %v", have, want, err, some(tally.missing(want)))
	}
}

// ExactlyOnce fails the test unless the lines 0 to n-1 were poured once each,
// and no others.
func (y Tally) ExactlyOnce(t testing.TB, n int) {
	t.Helper()
	if repeats := y.AtLeastOnce(t, n); repeats > 0 {
		t.Errorf("%d lines were poured more than once", repeats)
	}
}

// AtLeastOnce fails the test unless the lines 0 to n-1 were poured, and no
// others; it returns how many were poured more than once.
func (y Tally) AtLeastOnce(t testing.TB, n int) (repeats int) {
	t.Helper()
	missing, foreign := y.missing(n), []int(nil)
	for i, ids := range y {
		if i < 0 || i >= n {
			foreign = append(foreign, i)
		}
		if len(ids) > 1 {
			repeats++
		}
	}
	slices.Sort(foreign)
	if len(missing) > 0 {
		t.Errorf("%d of %d lines were lost, such as %v", len(missing), n, some(missing))
	}
	if len(foreign) > 0 {
		t.Errorf("%d lines that nobody sent were poured, such as %v", len(foreign), some(foreign))
	}
	return repeats
}

// missing returns which of the lines 0 to n-1 were not poured.
func (y Tally) missing(n int) (out []int) {
	for i := range n {
		if len(y[i]) == 0 {
			out = append(out, i)
		}
	}
	return out
}

// some are the first few of many.
func some(numbers []int) []int { return numbers[:min(10, len(numbers))] }
