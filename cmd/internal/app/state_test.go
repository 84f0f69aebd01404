package app

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// TestAnExportLeavesOutWhatItCannotRead: of a state with a record that no
// version wrote, all others are exported, and the error names it.
func TestAnExportLeavesOutWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(func(_, _ []byte, _ state.Sum) error { return nil }); err != nil {
		t.Fatal(err)
	}
	coder := pipeline.NewKeptCoder(pipeline.NewSchema(), s.Dictionary(), []pipeline.ScenarioID{{Name: "test/s", Filter: "true", Hash: "abc"}})
	at := pipeline.Position{Partition: pipeline.Partition{Source: "k", Topic: "logs", ID: 1}, Offset: 7}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var w state.Writer
	w.Put([]byte("b\x01"), []byte("no bucket"), 0)
	w.Put([]byte("x7"), []byte("\xff"), 0) // of a kind of the future
	w.Put([]byte("a\x00\x00\x00\x00\x00\x00\x00\x01"), coder.AppendOverflow(nil, &pipeline.Overflow{
		Key: "192.0.2.1", Cause: at, First: at, Last: at, Count: 6, FirstTime: noon, LastTime: noon,
	}), 0)
	if _, err := s.Commit(t.Context(), &state.Epoch{Parts: []*state.Writer{&w}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = ExportState(dir, &out)
	if err == nil || !strings.Contains(err.Error(), `1 records cannot be read, such as "b\x01" of kind bucket: `) {
		t.Errorf("got %v", err)
	}
	want := `{"kind":"Kind('x')","key":"37","value":"ff"}
{"kind":"pending_alert","scenario":"test/s","filter":"true","key":"192.0.2.1","cause":"k/logs/1@7.0","first":"k/logs/1@7.0","ordinal":0,"count":6,"last":"2026-03-01T12:00:00Z"}
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
