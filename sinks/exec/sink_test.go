package exec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func alert(values ...string) pipeline.Alert {
	a := pipeline.Alert{
		UUID: "00000000-0000-5000-8000-000000000001", Scenario: "sluice/ssh-bf", EventsCount: 6, StopAt: "2026-03-01T12:00:00Z", Events: []pipeline.AlertEvent{},
		Source: &pipeline.Source{Scope: "Ip", Value: values[0]},
	}
	for _, v := range values {
		a.Decisions = append(a.Decisions, pipeline.Decision{Type: "ban", Scope: "Ip", Value: v, Duration: "4h", Until: "2026-03-01T16:00:00Z"})
	}
	return a
}

// rig is a sink whose command is a script that writes down what it gets.
type rig struct {
	*Sink
	written string
	log     strings.Builder
}

func newRig(t *testing.T, script string, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{written: filepath.Join(dir, "written")}
	path := filepath.Join(dir, "act")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil { //nolint:gosec // it must be executable
		t.Fatal(err)
	}
	c := Default()
	c.Command, c.Environment, c.Timeout = path, map[string]string{"OUT": r.written}, time.Minute // of which a busy machine needs some
	change(&c)
	s, err := New("act", c, sinks.Env{Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r.Sink = s
	return r
}

// got returns the lines that were written.
func (r *rig) got(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(r.written)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

const printArgs = `for a; do printf '<%s>' "$a"; done >>$OUT; echo >>$OUT` + "\n"

func TestEachTemplateIsOneArgument(t *testing.T) {
	hostile := "192.0.2.1; rm -rf $(HOME) `id` \"'\n* --all"
	r := newRig(t, printArgs, func(c *Config) {
		c.Args = []string{"-A", "{{ .Alert.Scenario }}", "{{ .Alert.Source.Value }}", "--for={{ .Alert.Source.Value }}", "", "a b"}
	})
	if err := r.Alerts(t.Context(), []pipeline.Alert{alert(hostile)}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("<-A><sluice/ssh-bf><%[1]s><--for=%[1]s><><a b>", hostile)
	if got := strings.Join(r.got(t), "\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if st := r.Stats(); st.Alerts != 1 || st.Errors+st.Rejected+st.Decisions != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestValuesThatNoArgumentCanHoldAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"--flush": "would take for an option", "-": "would take for an option", "a\x00b": "gives a NUL",
	} {
		r := newRig(t, printArgs, func(c *Config) { c.Per, c.Args = perDecision, []string{"{{ .Decision.Value }}"} })
		err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1", value, "192.0.2.2")})
		var rejected *sinks.RejectedError
		if !errors.As(err, &rejected) || sinks.Retryable(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v", value, err)
		}
		if got := r.got(t); !slices.Equal(got, []string{"<192.0.2.1>", "<192.0.2.2>"}) {
			t.Errorf("%q: the others give %q", value, got)
		}
		if st := r.Stats(); st.Rejected != 1 || st.Decisions != 2 {
			t.Errorf("stats %+v", st)
		}
	}
}

func TestWhatIsRunForDecisions(t *testing.T) {
	simulated := alert("192.0.2.3")
	simulated.Simulated, simulated.Decisions[0].Simulated = true, true
	mixed := alert("192.0.2.1", "192.0.2.2", "192.0.2.4", "192.0.2.5")
	mixed.Decisions[1].Until = "2026-03-01T11:59:59Z"
	mixed.Decisions[2].Until = "2026-03-01T12:00:00.5Z"
	mixed.Decisions[3].Simulated, mixed.Decisions[3].Until = true, ""
	args := []string{"{{ .Decision.Type }}", "{{ .Decision.Value }}", "{{ .Seconds }}"}
	for also, want := range map[bool][]string{
		false: {"<ban><192.0.2.1><14400>", "<ban><192.0.2.4><1>"},
		true:  {"<ban><192.0.2.1><14400>", "<ban><192.0.2.4><1>", "<ban><192.0.2.5><0>", "<ban><192.0.2.3><14400>"},
	} {
		r := newRig(t, printArgs, func(c *Config) { c.Per, c.Args, c.Simulated = perDecision, args, also })
		if err := r.Alerts(t.Context(), []pipeline.Alert{mixed, simulated}); err != nil {
			t.Fatal(err)
		}
		if got := r.got(t); !slices.Equal(got, want) {
			t.Errorf("simulated %v: got %q, want %q", also, got, want)
		}
		if st := r.Stats(); st.Expired != 1 {
			t.Errorf("stats %+v, want one decision that expired", st)
		}
		if n := strings.Count(r.log.String(), "ran out before"); n != 1 {
			t.Errorf("%d lines say that a decision ran out, want 1: %s", n, r.log.String())
		}
	}
}

func TestWhatAnExitMeans(t *testing.T) {
	for _, c := range []struct{ script, want, text string }{
		{"echo fine", "done", ""},
		{"sleep 3 & echo fine", "done", ""}, // what goes on by itself
		{"echo 'not\n now' >&2; exit 1", "again", "exit status 1: not now"},
		{"exit 3", "refused", "exit status 3: (no output)"},
		{"kill -9 $$", "again", "signal: killed"},
		{"i=0; while [ $i -lt 300 ]; do echo 0123456789; i=$((i+1)); done; exit 1", "again", "0123456789"},
	} {
		r := newRig(t, c.script, func(c *Config) { c.RejectCodes = []int{3, 4} })
		err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1")})
		var rejected *sinks.RejectedError
		got := "done"
		switch {
		case sinks.Retryable(err):
			got = "again"
		case errors.As(err, &rejected):
			got = "refused"
		}
		if got != c.want || err != nil && (!strings.Contains(err.Error(), c.text) || len(err.Error()) > maxOutput+300) {
			t.Errorf("%q is %s (%v), want %s", c.script, got, err, c.want)
		}
		if c.script == "echo fine" && !strings.Contains(r.log.String(), "level=DEBUG") {
			t.Errorf("its output is not in the log: %s", r.log.String())
		}
	}
	r := newRig(t, "", func(c *Config) { c.Command = "/nowhere/act" })
	if err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1")}); !sinks.Retryable(err) || !strings.Contains(r.log.String(), "is not there") {
		t.Errorf("a command that is not there: %v; log %s", err, r.log.String())
	}
}

func TestACommandThatTakesTooLongIsKilledWithWhatItStarted(t *testing.T) {
	const script = `sleep 600 & echo $! >$OUT; wait` + "\n"
	r := newRig(t, script, func(c *Config) { c.Timeout = 2 * time.Second })
	if err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1")}); !sinks.Retryable(err) || !strings.Contains(err.Error(), "took more than 2s") {
		t.Errorf("error = %v", err)
	}
	for end := time.Now().Add(10 * time.Second); running(r.got(t)[0]); {
		if time.Now().After(end) {
			t.Fatal("what the command started still runs")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Alerts(ctx, []pipeline.Alert{alert("192.0.2.1")}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

// running tells whether a process runs; one that nobody has waited for yet does not.
func running(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ") && !strings.Contains(string(text), ") X ")
}

// TestACommandThatIsDoneIsNotRunAgain: that time was over, or the run, when it
// had ended does not undo what it did.
func TestACommandThatIsDoneIsNotRunAgain(t *testing.T) {
	for what, err := range map[string]error{"done": nil, "done, with its output held open": exec.ErrWaitDelay} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := newRig(t, "", func(*Config) {}).Sink
		if got := s.judge(ctx, ctx, err, "out"); got != nil {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestAnAddressIsOne: commands such as nft read their arguments as a language.
func TestAnAddressIsOne(t *testing.T) {
	r := newRig(t, printArgs, func(c *Config) { c.Per, c.Args = perDecision, []string{"{ {{ address .Decision.Value }} }"} })
	err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1", "2001:DB8::1", "::ffff:192.0.2.2", "192.0.2.77/24", "1 }; flush ruleset", "fe80::1%eth0")})
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || !strings.Contains(err.Error(), "neither an address nor a range") {
		t.Errorf("error = %v", err)
	}
	if got, want := r.got(t), []string{"<{ 192.0.2.1 }>", "<{ 2001:db8::1 }>", "<{ 192.0.2.2 }>", "<{ 192.0.2.0/24 }>"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestACommandGetsItsOwnEnvironmentAndTheAlert(t *testing.T) {
	t.Setenv("SLUICE_TEST_TOKEN", "hunter2")
	r := newRig(t, `cat >>$OUT; env >>$OUT`, func(c *Config) {
		c.Stdin = format.Text
		c.Environment["SCENARIO"] = "{{ .Alert.Scenario }}"
	})
	if err := r.Alerts(t.Context(), []pipeline.Alert{alert("192.0.2.1")}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(r.got(t), "\n")
	if !strings.HasPrefix(got, "2026-03-01T12:00:00Z  sluice/ssh-bf  Ip 192.0.2.1  6 events  ban 4h\n") ||
		!strings.Contains(got, "\nSCENARIO=sluice/ssh-bf") || !strings.Contains(got, "\nPATH=") || strings.Contains(got, "hunter2") {
		t.Errorf("got %s", got)
	}
	if r.Stats().Bytes == 0 {
		t.Error("no bytes are counted")
	}
}

func TestOneThatFailsHoldsBackItsSourceAlone(t *testing.T) {
	r := newRig(t, `[ "$1" = 192.0.2.1 ] && exit 1; echo "$1" >>$OUT`, func(c *Config) {
		c.Parallel, c.Args = 64, []string{"{{ .Alert.Source.Value }}"}
	})
	var batch []pipeline.Alert
	for i := range 8 {
		a := alert(fmt.Sprint("192.0.2.", i))
		a.UUID = fmt.Sprint("id-", i)
		batch = append(batch, a)
	}
	err := r.Alerts(t.Context(), batch)
	var partial *sinks.PartialError
	if !errors.As(err, &partial) || partial.Settled != 1 {
		t.Fatalf("error = %v", err)
	}
	r.config.Command, r.templates.args = "/bin/true", nil
	if err := r.Alerts(t.Context(), batch[1:]); err != nil {
		t.Fatal(err)
	}
	if st := r.Stats(); st.Alerts != 8 || st.Errors != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"per: alert", "name the program"}, {"command: x\nper: hour", "alert or decision"}, {"command: x\ntimeout: 0s", "above 0"},
		{"command: x\nparallel: 0", "between 1 and 256"}, {"command: x\nreject_codes: [0]", "between 1 and 255"},
		{"command: x\nargs: ['{{']", "argument 1 is no template"}, {"command: x\nargs: ['{{ env \"HOME\" }}']", "no template"},
		{"command: x\nenvironment: {A: '{{'}", "A is no template"}, {"command: x\nenvironment: {'A=': x}", "variable's name"},
		{"command: x\nstdin: xml", "no format"}, {"command: x\nargs: [a, '{{ .Nope }}']", "argument 2 fails on every alert"},
		{"command: x\nargs: ['{{ .Decision.Value }}']", "with per: decision only"}, {"command: x\nper: decision\nargs: ['{{ .Decision.Nope }}']", "fails on every alert"},
		{"command: x\nenvironment: {A: '{{ .Alert.Nope }}'}", "A fails on every alert"},
	} {
		node, err := component.Parse([]byte("type: exec\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
}

// FuzzArguments: whatever a value is, it stays one argument and no option.
func FuzzArguments(f *testing.F) {
	f.Add("192.0.2.1")
	f.Add("-x")
	f.Add("\x00")
	c := Config{Per: perDecision, Args: []string{"{{ .Decision.Value }}", "--to", "--v={{ .Decision.Value }}"}}
	t, err := c.compile()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(tt *testing.T, value string) {
		args, err := t.arguments(&data{Decision: &pipeline.Decision{Value: value}})
		refused := strings.HasPrefix(value, "-") || strings.Contains(value, "\x00")
		if (err != nil) != refused || err == nil && !slices.Equal(args, []string{value, "--to", "--v=" + value}) {
			tt.Errorf("%q gives %q, %v", value, args, err)
		}
	})
}
