package file

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

func alerts() []pipeline.Alert {
	return []pipeline.Alert{
		{
			UUID: "6ba7b811-9dad-51d1-80b4-00c04fd430c8", Scenario: "sluice/ssh-bf", Message: "Ip 192.0.2.1 <fails>", EventsCount: 6,
			StartAt: "2024-05-01T12:00:00Z", StopAt: "2024-05-01T12:00:10Z", Capacity: 5, Leakspeed: "10s", Remediation: true,
			Source:    &pipeline.Source{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", Cn: "FR", AsNumber: "64500", AsName: "Example"},
			Meta:      []pipeline.MetaItem{{Key: "target_user", Value: `["root"]`}},
			Events:    []pipeline.AlertEvent{{Timestamp: "2024-05-01T12:00:00Z", Meta: []pipeline.MetaItem{{Key: "log_type", Value: "ssh_failed-auth"}}}},
			Decisions: []pipeline.Decision{{Origin: "sluice", Type: "ban", Scope: "Ip", Value: "192.0.2.1", Duration: "4h", Scenario: "sluice/ssh-bf"}},
			Sluice: pipeline.AlertOrigin{
				Key: "192.0.2.1", Cause: pipeline.Position{Partition: pipeline.Partition{Source: "k", Topic: "logs", ID: 1}, Offset: 7},
				Labels: map[string]any{"service": "ssh", "confidence": 3, "behavior": "ssh:bruteforce"},
			},
		},
		{
			UUID: "6ba7b812-9dad-51d1-80b4-00c04fd430c8", Scenario: "sluice/spray", EventsCount: 1, StopAt: "2024-05-01T12:00:11Z",
			Source: &pipeline.Source{Scope: "username", Value: "a\x1b[31m\n\xffé", AsNumber: "0"},
			Decisions: []pipeline.Decision{
				{Type: "ban", Scope: "Range", Value: "192.0.2.0/24", Duration: "1h", Simulated: true}, {Type: "captcha", Scope: "username", Value: "x", Duration: "30m"},
			},
		},
		{UUID: "6ba7b813-9dad-51d1-80b4-00c04fd430c8", Scenario: "sluice/all", EventsCount: 2, StopAt: "2024-05-01T12:00:12Z"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update rewrites it); got:\n%s", name, got)
	}
}

func TestLinesOfEachFormat(t *testing.T) {
	for _, c := range []struct {
		format       format.Format
		colour, file string
	}{
		{format.Sluice, "auto", "alerts.jsonl"}, {format.Text, "auto", "alerts.txt"}, {format.Text, "always", "alerts.coloured.txt"},
	} {
		var out bytes.Buffer
		node, err := component.Parse([]byte("type: stdout\nformat: " + string(c.format) + "\ncolour: " + c.colour))
		if err != nil {
			t.Fatal(err)
		}
		s, err := sinks.New(node, sinks.Env{Stdout: &out})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Alerts(t.Context(), alerts()); err != nil {
			t.Fatal(err)
		}
		golden(t, c.file, out.Bytes())
		if st := s.Stats(); st.Alerts != 3 || st.Decisions != 3 || st.Bytes != uint64(out.Len()) {
			t.Errorf("stats %+v", st)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func newSink(t *testing.T, path string) *Sink {
	t.Helper()
	c := Default()
	c.Path, c.Fsync = path, true
	s, err := New("alerts", c, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func lines(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

func TestReopenFollowsARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.jsonl")
	s := newSink(t, path)
	var r sinks.Reopener = s
	for range 2 {
		if err := s.Alerts(t.Context(), alerts()[:1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := s.Alerts(t.Context(), alerts()); err != nil {
		t.Fatal(err)
	}
	if lines(t, path+".1") != 2 || lines(t, path) != 3 {
		t.Errorf("%d and %d lines, want 2 and 3", lines(t, path+".1"), lines(t, path))
	}
}

func TestAnAlertWithoutJSONIsRejectedAndTheOthersAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.jsonl")
	s := newSink(t, path)
	batch := alerts()
	batch[1].Sluice.Labels = map[string]any{"x": math.NaN()}
	err := s.Alerts(t.Context(), batch)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || len(rejected.Alerts) != 1 || rejected.Alerts[0] != 1 || sinks.Retryable(err) {
		t.Errorf("error %v", err)
	}
	if lines(t, path) != 2 || s.Stats().Alerts != 2 || s.Stats().Rejected != 1 {
		t.Errorf("%d lines, %+v", lines(t, path), s.Stats())
	}
}

func TestAFailedWriteIsRetried(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, filepath.Join(dir, "alerts.jsonl"))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Alerts(t.Context(), alerts()); !sinks.Retryable(err) || s.Stats().Errors != 1 {
		t.Errorf("error %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Alerts(t.Context(), alerts()); err != nil {
		t.Error(err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no path", "type: file", "name a file"},
		{"a folder that is not there", "type: file\npath: /nowhere/at/all/a.jsonl", "/nowhere/at/all is not there"},
		{"an unknown format", "type: stdout\nformat: xml", "no format"},
		{"an unknown colour", "type: stdout\ncolour: red", "none of auto"},
		{"a mode that is no number", "type: file\npath: '-'\nmode: rw", "no octal number"},
		{"a path of standard output", "type: stdout\npath: a", "unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := component.Parse([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestRotationKeepsTheNewestFiles writes more than the files hold together:
// the newest lines are there, once each and in order, and a batch is never torn apart.
func TestRotationKeepsTheNewestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.log")
	c := Default()
	c.Path, c.Format, c.MaxBytes, c.Keep = path, format.Text, 1000, 3
	var want []string
	for i := range 40 {
		if i%7 == 0 { // another process goes on where this one ended
			s, err := New("alerts", c, sinks.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for j := range 7 {
				a := alerts()[2]
				a.Scenario = fmt.Sprintf("n-%d-%d", i, j)
				if err := s.Alerts(t.Context(), []pipeline.Alert{a, a}); err != nil {
					t.Fatal(err)
				}
				want = append(want, a.Scenario, a.Scenario)
			}
		}
	}
	var got []string
	for _, name := range []string{path + ".4", path + ".3", path + ".2", path + ".1", path} {
		text, err := os.ReadFile(name)
		if strings.HasSuffix(name, ".4") {
			if err == nil {
				t.Errorf("%s is there", name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 1000 || bytes.Count(text, []byte("\n"))%2 != 0 {
			t.Errorf("%s has %d bytes and %d lines", name, len(text), bytes.Count(text, []byte("\n")))
		}
		for line := range strings.Lines(string(text)) {
			got = append(got, strings.Fields(line)[1])
		}
	}
	if len(got) < 40 || !slices.Equal(got, want[len(want)-len(got):]) {
		t.Errorf("the files hold %v", got)
	}
}

// TestATornLineIsCutOff begins where a process was killed while it wrote.
func TestATornLineIsCutOff(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for before, want := range map[string]int{"": 3, "whole\n": 4, "whole\ntorn": 4, "torn": 3, "whole\n" + long: 4, long: 3} {
		path := filepath.Join(t.TempDir(), "alerts.jsonl")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSink(t, path)
		if err := s.Alerts(t.Context(), alerts()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(t, path); n != want || bytes.Contains(text, []byte("torn")) || bytes.Contains(text, []byte("xx")) {
			t.Errorf("behind %.20q there are %d lines, want %d", before, n, want)
		}
	}
}

// TestATornLineIsNotRotatedAway has the first batch after a crash begin a new file.
func TestATornLineIsNotRotatedAway(t *testing.T) {
	c := Default()
	c.Path, c.MaxBytes = filepath.Join(t.TempDir(), "alerts.jsonl"), 1000
	if err := os.WriteFile(c.Path, []byte(strings.Repeat("whole\n", 150)+"torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New("alerts", c, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Alerts(t.Context(), alerts()); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(c.Path + ".1")
	if err != nil || string(old) != strings.Repeat("whole\n", 150) || lines(t, c.Path) != 3 {
		t.Errorf("the old file ends in %.10q, error %v; the new one has %d lines", old[max(0, len(old)-10):], err, lines(t, c.Path))
	}
}
