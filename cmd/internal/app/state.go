package app

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/cmd/internal/control"
	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/state"
)

// StateReport is what sluice state inspect tells.
type StateReport struct {
	Dir     string    `json:"dir"`
	Version int       `json:"version"`
	Epoch   uint64    `json:"epoch"` // the last whole one
	At      time.Time `json:"at,omitzero"`
	// Folded is the epoch up to which records are in their final place.
	Folded     uint64            `json:"folded"`
	Disk       component.Bytes   `json:"disk_bytes"`
	Records    []StateKind       `json:"records"` // by kind
	Partitions []StatePartition  `json:"partitions"`
	Outbox     StateOutbox       `json:"outbox"`
	Sinks      map[string]uint64 `json:"sinks"` // up to which entry each has taken all
	Problems   []string          `json:"problems,omitempty"`
}

// StateKind counts the records of one kind.
type StateKind struct {
	Kind    string          `json:"kind"`
	Records int64           `json:"records"`
	Bytes   component.Bytes `json:"bytes"`
}

// StatePartition is how far the state has seen a partition.
type StatePartition struct {
	Partition string    `json:"partition"`
	Next      int64     `json:"next"` // offset
	Clock     time.Time `json:"clock,omitzero"`
}

// StateOutbox counts the alerts on their way: entries First to Next less one.
type StateOutbox struct {
	First    uint64 `json:"first"`
	Next     uint64 `json:"next"`
	Accepted uint64 `json:"accepted"`
}

// InspectState reports on the state in a folder, damaged or not, and changes nothing.
func InspectState(dir string) (*StateReport, error) {
	info, err := state.Inspect(dir)
	if err != nil {
		return nil, explainState(dir, err)
	}
	r := &StateReport{
		Dir: dir, Version: info.Version, Epoch: info.Last, At: info.At, Folded: info.Folded, Disk: component.Bytes(info.Disk),
		Outbox: StateOutbox{info.Outbox.First, info.Outbox.Next, info.Outbox.Accepted}, Sinks: info.Outbox.Cursors,
	}
	for kind, k := range info.Kinds {
		r.Records = append(r.Records, StateKind{kind.String(), k.Records, component.Bytes(k.Bytes)})
	}
	slices.SortFunc(r.Records, func(a, b StateKind) int { return strings.Compare(a.Kind, b.Kind) })
	for _, p := range info.Problems {
		r.Problems = append(r.Problems, p.Error())
	}
	return r, r.addPartitions(dir)
}

// addPartitions reads where the partitions stand. What cannot be read is
// among the problems already.
func (r *StateReport) addPartitions(dir string) error {
	store, err := state.View(state.Options{Dir: dir})
	if err != nil {
		return err
	}
	byName := make(map[string]*StatePartition)
	err = store.Load(func(key, value []byte, _ state.Sum) error {
		kind := state.Kind(key[0])
		if kind != state.KindPosition && kind != state.KindClock {
			return nil
		}
		p, next, clock, err := pipeline.DecodePartition(store.Dictionary(), key, value)
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
			return nil
		}
		s := byName[p.String()]
		if s == nil {
			s = &StatePartition{Partition: p.String()}
			byName[p.String()] = s
		}
		if kind == state.KindPosition {
			s.Next = next
		} else {
			s.Clock = clock
		}
		return nil
	})
	var damaged *state.DamagedError
	if errors.As(err, &damaged) {
		err = nil // Inspect has told it
	}
	for _, s := range byName {
		r.Partitions = append(r.Partitions, *s)
	}
	slices.SortFunc(r.Partitions, func(a, b StatePartition) int { return strings.Compare(a.Partition, b.Partition) })
	return errors.Join(err, store.Close())
}

// WriteText writes the report for a terminal.
func (r *StateReport) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "state\t%s, format %d, %s on disk\n", r.Dir, r.Version, r.Disk)
	if r.At.IsZero() {
		fmt.Fprintln(t, "epoch\tnone yet: no checkpoint was made")
	} else {
		fmt.Fprintf(t, "epoch\t%d of %s, folded up to %d\n", r.Epoch, r.At.UTC().Format(time.RFC3339), r.Folded)
	}
	for _, k := range r.Records {
		fmt.Fprintf(t, "%s\t%d records, %d bytes\n", k.Kind, k.Records, int64(k.Bytes))
	}
	for _, p := range r.Partitions {
		fmt.Fprintf(t, "partition\t%s at %d", p.Partition, p.Next)
		if !p.Clock.IsZero() {
			fmt.Fprintf(t, ", clock %s", p.Clock.Format(time.RFC3339))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "outbox\t%d entries, accepted up to %d\n", r.Outbox.Next-r.Outbox.First, r.Outbox.Accepted)
	for _, sink := range slices.Sorted(maps.Keys(r.Sinks)) {
		fmt.Fprintf(t, "sink\t%s has taken all up to %d\n", sink, r.Sinks[sink])
	}
	for _, p := range r.Problems {
		fmt.Fprintf(t, "PROBLEM\t%s\n", p)
	}
	return t.Flush()
}

// explainState says what to do where there is no state.
func explainState(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no state in %q: a pipeline makes it when it runs with state.dir", dir)
	}
	return err
}

// viewState opens a state to be looked at.
func viewState(dir string) (*state.Store, error) {
	store, err := state.View(state.Options{Dir: dir})
	return store, explainState(dir, err)
}

// ExportState writes what a state holds, one JSON object a line: records by
// the names of what they refer to, sorted, so that two runs can be compared.
// Buckets that are dead are left out, whether or not their memory was freed.
// The outbox is not among it. Of a damaged state all that can be read is
// written, and the error says what is missing.
func ExportState(dir string, w io.Writer) error {
	store, err := viewState(dir)
	if err != nil {
		return err
	}
	lines, err := describeState(store)
	slices.SortFunc(lines, bytes.Compare)
	out := bufio.NewWriter(w)
	for _, line := range lines {
		_, _ = out.Write(append(line, '\n')) // Flush returns the error
	}
	return errors.Join(err, out.Flush(), store.Close())
}

// BackUpState writes all that a state holds for RestoreState. Of a damaged one
// all that can be read is written, and the error says what is missing.
func BackUpState(dir string, w io.Writer) error {
	store, err := viewState(dir)
	if err != nil {
		return err
	}
	return errors.Join(store.Export(w), store.Close())
}

// RestoreState makes a state of what BackUpState wrote, in a folder that holds none.
func RestoreState(dir string, r io.Reader) error {
	if _, err := control.PID(dir); errors.Is(err, control.ErrNotRunning) {
		if err := control.Remove(dir); err != nil { // of a run that crashed
			return err
		}
	}
	return state.Import(state.Options{Dir: dir}, r)
}
