package journald

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestEntriesAreFollowed(t *testing.T) {
	j := newJournal(t)
	j.add("a", "b")
	r, s := j.start(t.TempDir(), nil, func(c *Config) { c.Emit, c.Headers = emitLine, []string{"_SYSTEMD_UNIT"} })
	r.Wait("the first two", func(l map[string][]string) bool { return len(l["/0"]) == 2 })
	j.add("c")
	r.Wait("the third", func(l map[string][]string) bool { return len(l["/0"]) == 3 })
	want := "2024-05-01T12:00:03.000003Z web sshd[7]: c"
	last := r.Last("/0")
	if got := r.Lines()["/0"][2]; got != want || last.Labels["type"] != "syslog" || string(last.Headers[0].Value) != "ssh.service" {
		t.Errorf("line %q, %+v; want %q", got, last, want)
	}
	if !last.Time.Equal(time.UnixMicro(1714564803000003)) {
		t.Errorf("the record's time is %v", last.Time)
	}
	if st := s.Stats(); st.Records != 3 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

func TestALaterRunBeginsBehindTheLastEntry(t *testing.T) {
	j, dir := newJournal(t), t.TempDir()
	j.add("a", "b")
	r, _ := j.start(dir, nil, nil)
	r.Expect("/0:a,b")
	next := r.Stop()
	j.add("c")
	r, _ = j.start(dir, next, nil)
	r.Expect("/0:c")
	next = r.Stop()
	// A run whose checkpoint is older gets again what the journal still holds, and each entry once.
	for p := range next {
		next[p]--
	}
	r, _ = j.start(dir, next, nil)
	r.Expect("/0:c")
	r.Eventually("the third journalctl", func() bool { return len(j.calls()) == 3 })
	for n, want := range []string{"--follow --no-tail", "--cursor=s=1;i=2 --follow --no-tail", "--cursor=s=1;i=3 --follow --no-tail"} {
		if call := j.calls()[n]; !strings.HasSuffix(call, want) || (n == 0) == strings.Contains(call, "--cursor") {
			t.Errorf("call %d is %q, want %q", n+1, call, want)
		}
	}
}

func TestFollowingBeginsAtTheEnd(t *testing.T) {
	for name, before := range map[string][]string{"of entries": {"old", "older"}, "of an empty journal": nil} {
		t.Run(name, func(t *testing.T) {
			j, dir := newJournal(t), t.TempDir()
			j.add(before...)
			edit := func(c *Config) { c.Start = startEnd }
			r, _ := j.start(dir, nil, edit)
			r.Eventually("its mark", func() bool { return len(j.calls()) == 2 })
			next := r.Stop()
			j.add("while away") // the end is where it was when reading began first
			r, _ = j.start(dir, next, edit)
			r.Expect("/0:while away")
		})
	}
}

func TestOnePassEndsAtTheEnd(t *testing.T) {
	j := newJournal(t)
	j.add("a", "", "b")
	r, s := j.start(t.TempDir(), nil, func(c *Config) { c.Follow, c.Start = false, startEnd })
	if err := r.Ended(); err != nil {
		t.Fatal(err)
	}
	r.Expect("/0:a,b")
	if st := s.Stats(); st.Skipped != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAJournalctlThatDiesIsRunAgain(t *testing.T) {
	j := newJournal(t)
	j.add("a", "b", "c")
	j.file("die", "")
	r, s := j.start(t.TempDir(), nil, nil)
	r.Expect("/0:a,b,c")
	r.Eventually("the recovery", func() bool { return s.Stats().Reconnects == 1 })
	if r.Said("reading is interrupted") != 1 || r.Said("reading goes on") != 1 || s.Stats().Errors != 1 {
		t.Errorf("%s%+v", r.Log, s.Stats())
	}
}

// TestAMessageThatCannotBeReadYetIsReadAgain: of an entry that is just being
// written journalctl may leave out the message, or give it up in the middle.
func TestAMessageThatCannotBeReadYetIsReadAgain(t *testing.T) {
	for _, what := range []string{"hide", "tear"} {
		for name, tc := range map[string]struct {
			edit func(*Config)
			want string
		}{
			"one that follows": {nil, "/0:a,b,c,d"},
			"one pass":         {func(c *Config) { c.Follow = false }, "/0:a,b,c"},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				j := newJournal(t)
				j.add("a", "b", "c")
				j.file(what, "")
				r, s := j.start(t.TempDir(), nil, tc.edit)
				r.Expect("/0:a,b,c")
				j.add("d")
				r.Expect(tc.want)
				if st := s.Stats(); st.Skipped != 0 || st.Errors != 0 || len(j.calls()) != 2 {
					t.Errorf("%+v, calls %q", st, j.calls())
				}
			})
		}
	}
}

func TestEntriesWithoutAMessageAreSkipped(t *testing.T) {
	j := newJournal(t)
	j.add("a")
	for range 3 {
		j.n++
		j.file("journal", export(j.n, "_PID", "7"))
	}
	j.add("b")
	j.n++
	j.file("journal", export(j.n, "_PID", "7"))
	r, s := j.start(t.TempDir(), nil, nil)
	r.Expect("/0:a,b")
	j.add("c")
	r.Expect("/0:a,b,c")
	if st := s.Stats(); st.Skipped != 4 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAnOutageIsToldOnce(t *testing.T) {
	j, dir := newJournal(t), t.TempDir()
	j.add("a")
	j.file("fail", "Warning: something.\nFailed to open files: No such file or directory\n")
	r, s := j.start(dir, nil, nil)
	r.Eventually("some failures", func() bool { return s.Stats().Errors >= 4 })
	if err := os.Remove(filepath.Join(j.dir, "fail")); err != nil {
		t.Fatal(err)
	}
	r.Expect("/0:a")
	if r.Said("reading is interrupted") != 1 || r.Said("Failed to open files: No such file or directory") != 1 || r.Said("reading goes on") != 1 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestWithoutJournalctlTheRunEnds(t *testing.T) {
	j := newJournal(t)
	r, _ := j.start(t.TempDir(), nil, func(c *Config) { c.Command = "no-such-journalctl" })
	r.Fails("install systemd's journalctl")
}

func TestALongMessageIsCut(t *testing.T) {
	j := newJournal(t)
	j.add("0123456789", "01\n456789")
	r, s := j.start(t.TempDir(), nil, func(c *Config) { c.MaxMessageBytes = 5 })
	r.Expect("/0:01234,01\n45")
	if st := s.Stats(); st.Cut != 2 {
		t.Errorf("%+v", st)
	}
}

func TestArguments(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*Config)
		cursor string
		want   string
	}{
		"the whole journal": {func(*Config) {}, "", "--follow --no-tail"},
		"units and matches": {func(c *Config) {
			c.Units, c.JournalctlFilter = []string{"ssh.service", "nginx*"}, []string{"_UID=0", "+", "--grep=x y"}
		}, "", "--unit=ssh.service --unit=nginx* --follow --no-tail _UID=0 + --grep=x y"},
		"a cursor wins over a time": {func(c *Config) { c.Since = "-1h" }, "s=1", "--cursor=s=1 --follow --no-tail"},
		"a time":                    {func(c *Config) { c.Since = "-1h" }, "", "--since=-1h --follow --no-tail"},
		"another place": {func(c *Config) {
			c.Directory, c.Follow, c.Until, c.Identifiers, c.Priority, c.Merge = "/j", false, "now", []string{"sshd"}, "err", true
		}, "", "--priority=err --directory=/j --until=now --identifier=sshd --merge"},
		"files": {func(c *Config) { c.Files = []string{"/a.journal", "/b*"} }, "", "--file=/a.journal --file=/b* --follow --no-tail"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Default()
			c.edit(&config)
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			common := "--no-pager --all --output=export --output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID,_HOSTNAME,_SOURCE_REALTIME_TIMESTAMP "
			if got := strings.Join(config.reading(c.cursor), " "); got != common+c.want {
				t.Errorf("got  %s\nwant %s", got, common+c.want)
			}
		})
	}
}

func TestMistakesName(t *testing.T) {
	for name, c := range map[string]struct{ yaml, says string }{
		"an option that is ours":        {"journalctl_filter: [--output=json]", "journalctl_filter"},
		"a short option":                {"journalctl_filter: [-f]", "in its long form"},
		"a word":                        {"journalctl_filter: [sshd]", "neither a match"},
		"a time in the filter":          {"journalctl_filter: [--since=today]", "set the key since"},
		"two places":                    {"directory: /a\nfiles: [/b]", "files"},
		"until with follow":             {"until: today", "follow: false"},
		"a header that is no field":     {"headers: [unit]", "headers"},
		"an empty unit":                 {"units: ['']", "units"},
		"a start that is none":          {"start: latest", "start"},
		"a form that is none":           {"emit: json", "emit"},
		"a namespace of another folder": {"namespace: x\ndirectory: /a", "namespace"},
		"no state":                      {"units: [a]", "journal.dir"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: journald\n" + c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			env, _ := sourcetest.Env(sourcetest.NewClock(), "")
			if _, err := sources.New(node, env); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}
