package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

// passes waits until a group has been read to its end once more from now on.
func (r *run) passes(f *fakeLogs, group string) {

	call := "filter " + group
	n := f.count(call)
	r.Eventually("another read", func() bool { return f.count(call) > n+1 })
}

func TestEventsAreReadAsTheyCome(t *testing.T) {
	f := newFakeLogs("g", "other")
	f.page = 2
	f.put("g", "s1", 3*time.Second, "a")
	f.put("g", "s2", 2*time.Second, "b", "c")
	f.put("other", "s", 0, "x")
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Labels = map[string]string{"type": "nginx"} })
	r.Expect("g/0:a,b,c")
	f.clock.Move(time.Second)
	f.put("g", "s3", 0, "d")
	r.Expect("g/0:a,b,c,d")
	want := sourcetest.Record{
		Labels: map[string]string{"type": "nginx"}, Time: f.clock.Now(),
		Headers: []pipeline.Header{{Key: "log_stream", Value: []byte("s3")}, {Key: "event_id", Value: fmt.Appendf(nil, "%056d", 5)}},
	}
	if last := r.Last("g/0"); !reflect.DeepEqual(last, want) {
		t.Errorf("the last is %+v, want %+v", last, want)
	}
	if s := r.source.Stats(); s.Records != 4 || s.Errors != 0 || s.Gaps != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestLateEventsAreReadAndNoneTwice(t *testing.T) {
	f := newFakeLogs("g")
	f.put("g", "s", 0, "a")
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Overlap = time.Minute })
	r.Expect("g/0:a")
	f.clock.Move(50 * time.Second)
	f.put("g", "s", 0, "b")
	r.Expect("g/0:a,b")
	f.put("g", "late", 49*time.Second, "c") // before b, behind a
	r.Expect("g/0:a,b,c")
	for range 5 { // long enough for all to leave the overlap
		f.clock.Move(30 * time.Second)
		r.passes(f, "g")
	}
	f.put("g", "s", 0, "d")
	r.Expect("g/0:a,b,c,d")
}

func TestWhatIsRememberedIsForgottenWithTheOverlap(t *testing.T) {
	f := newFakeLogs("g")
	f.put("g", "s", 0, "a", "b")
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Overlap = time.Minute })
	r.Expect("g/0:a,b")
	chunks := func() int {
		n := 0
		for key := range r.source.intake.Marks() {
			if strings.HasPrefix(key, seenPrefix) {
				n++
			}
		}
		return n
	}
	r.Eventually("ids being kept", func() bool { return chunks() > 0 })
	f.clock.Move(2 * time.Minute)
	r.Eventually("all being forgotten", func() bool { return chunks() == 0 })
}

func TestWhichEventsAreRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want []string
	}{
		{"from the oldest", func(*Config) {}, []string{"g/0:old,web,db"}},
		{"from a time", func(c *Config) { c.Start = "2024-05-01T11:30:00Z" }, []string{"g/0:web,db"}},
		{"streams by prefix", func(c *Config) { c.StreamPrefix = "w" }, []string{"g/0:old,web"}},
		{"streams by expression", func(c *Config) { c.StreamRegexp = "d.*" }, []string{"g/0:db"}},
		{"events by pattern", func(c *Config) { c.FilterPattern = "web" }, []string{"g/0:web"}},
		{"groups by prefix", func(c *Config) { c.Groups, c.GroupPrefix = nil, "/aws/" }, []string{"/aws/a/0:x", "/aws/b/0:y"}},
		{"groups by expression", func(c *Config) { c.Groups, c.GroupRegexp = nil, "g|.*/b" }, []string{"/aws/b/0:y", "g/0:old,web,db"}},
		{"groups by prefix and expression", func(c *Config) { c.Groups, c.GroupPrefix, c.GroupRegexp = nil, "/aws/", ".*a" }, []string{"/aws/a/0:x"}},
		{"groups by name and prefix", func(c *Config) { c.Groups, c.GroupPrefix = []string{"/aws/a", "g"}, "/aws/" }, []string{"/aws/a/0:x", "/aws/b/0:y", "g/0:old,web,db"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeLogs("/aws/a", "/aws/b", "g")
			f.page = 1
			f.put("g", "w1", time.Hour, "old")
			f.put("g", "w1", 2*time.Second, "web")
			f.put("g", "d1", time.Second, "db")
			f.put("/aws/a", "s", time.Second, "x")
			f.put("/aws/b", "s", time.Second, "y")
			start(t, f, t.TempDir(), nil, tc.edit).Expect(tc.want...)
		})
	}
}

func TestLatestBeginsNowAndStaysThere(t *testing.T) {
	f := newFakeLogs("g")
	f.put("g", "s", time.Second, "old")
	dir := t.TempDir()
	r := start(t, f, dir, nil, func(c *Config) { c.Start = StartLatest })
	r.passes(f, "g")
	next := r.Stop()
	f.clock.Move(time.Hour)
	f.put("g", "s", 30*time.Minute, "while it was down")
	r = start(t, f, dir, next, func(c *Config) { c.Start = StartLatest })
	r.Expect("g/0:while it was down")
}

func TestGroupsComeAndGo(t *testing.T) {
	f := newFakeLogs("g1")
	f.put("g1", "s", time.Second, "old")
	dir := t.TempDir()
	search := func(c *Config) { c.Groups, c.GroupPrefix, c.Start = nil, "g", StartLatest }
	r := start(t, f, dir, nil, search)
	r.passes(f, "g1")
	f.clock.Move(time.Minute)
	f.do(func() { f.groups = append(f.groups, &fakeGroup{name: "g2", created: f.clock.Now()}) })
	f.put("g2", "s", 0, "new")
	f.clock.Move(time.Minute)
	r.Expect("g2/0:new")
	f.do(func() { f.groups = f.groups[1:] })
	r.Eventually("the end of g1", func() bool { return r.Said("a log group is gone") == 1 })
	f.put("g2", "s", 0, "newer")
	r.Expect("g2/0:new,newer")
	if r.Said("interrupted") != 0 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestAWindowEnds(t *testing.T) {
	f := newFakeLogs("g", "empty")
	f.page = 2
	f.put("g", "s", 50*time.Minute, "before")
	f.put("g", "s", 40*time.Minute, "a", "b", "c")
	f.put("g", "s", 30*time.Minute, "at the end")
	dir := t.TempDir()
	window := func(c *Config) {
		c.Groups = []string{"g", "empty"}
		c.Start, c.End = "2024-05-01T11:20:00Z", "2024-05-01T11:30:00Z"
	}
	r := start(t, f, dir, nil, window)
	if err := r.Ended(); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	r.Expect("g/0:a,b,c")
	// And once more, behind what was read: there is nothing left.
	r = start(t, f, dir, r.Stop(), window)
	if err := r.Ended(); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	if len(r.Lines()) > 0 {
		t.Errorf("read again: %v", r.Lines())
	}
}

func TestAWindowThatEndsInTheFutureIsWaitedFor(t *testing.T) {
	f := newFakeLogs("g")
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.End, c.Overlap = "2024-05-01T12:10:00Z", time.Minute })
	f.clock.Move(9 * time.Minute)
	f.put("g", "s", 0, "a")
	r.Expect("g/0:a")
	f.clock.Move(90 * time.Second)
	f.put("g", "s", time.Minute, "late")
	r.Expect("g/0:a,late")
	f.clock.Move(time.Minute)
	if err := r.Ended(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestARestartGoesOnAmongTheOverlap(t *testing.T) {
	f := newFakeLogs("g")
	f.put("g", "s", 2*time.Second, "a", "b")
	dir := t.TempDir()
	r := start(t, f, dir, nil, nil)
	r.Expect("g/0:a,b")
	next := r.Stop()
	f.put("g", "s", 3*time.Second, "late")
	f.put("g", "s", 0, "c")
	r = start(t, f, dir, next, nil)
	r.Expect("g/0:late,c")
}

func TestTroubleIsToldOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		times  int
		lines  int
		errors uint64
	}{
		{"an endpoint that is gone", errors.New("connection refused"), 20, 1, 19},
		{"a connection that was closed", io.EOF, 1, 0, 0},
		{"too many requests now and then", &types.ThrottlingException{}, 3, 0, 0},
		{"too many requests all the time", &types.ThrottlingException{}, 20, 1, 16},
		{"a named group that is gone", &types.ResourceNotFoundException{}, 10, 1, 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeLogs("g")
			f.put("g", "s", 0, "a")
			left := tc.times
			f.fail = func(call string) error {
				if call == "filter g" && left > 0 {
					left--
					return tc.err
				}
				return nil
			}
			r := start(t, f, t.TempDir(), nil, nil)
			r.Expect("g/0:a")
			if s := r.source.Stats(); s.Errors != tc.errors || s.Reconnects != uint64(tc.lines) {
				t.Errorf("%d errors, %d recoveries", s.Errors, s.Reconnects)
			}
			if r.Said("reading is interrupted") != tc.lines || r.Said("reading goes on") != tc.lines {
				t.Errorf("it said\n%s", r.Log)
			}
		})
	}
}

func TestANamedGroupThatIsNotThereIsWaitedFor(t *testing.T) {
	f := newFakeLogs()
	r := start(t, f, t.TempDir(), nil, nil)
	r.Eventually("the complaint", func() bool { return r.Said("there is no log group g") == 1 })
	f.do(func() { f.groups = append(f.groups, &fakeGroup{name: "g"}) })
	f.put("g", "s", 0, "a")
	r.Expect("g/0:a")
	if r.Said("reading is interrupted") != 1 || r.Said("reading goes on") != 1 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestATokenThatExpiredBeginsThePassAgain(t *testing.T) {
	f := newFakeLogs("g")
	f.page = 1
	f.put("g", "s", 3*time.Second, "a", "b", "c")
	failed := false
	f.fail = func(call string) error {
		if call == "filter g" && f.calls[call] == 3 && !failed {
			failed = true
			return &types.InvalidParameterException{Message: aws.String("the token has expired")}
		}
		return nil
	}
	r := start(t, f, t.TempDir(), nil, nil)
	r.Expect("g/0:a,b,c")
	r.passes(f, "g")
	r.Expect("g/0:a,b,c")
}

func TestEventsThatTheGroupKeptNoLongerAreAGap(t *testing.T) {
	for _, policy := range []string{gapFail, gapSkip} {
		t.Run(policy, func(t *testing.T) {
			f := newFakeLogs("g")
			f.group("g").retention = 1
			f.put("g", "s", 48*time.Hour, "older than it is kept") // at the first start nothing is missed
			dir := t.TempDir()
			r := start(t, f, dir, nil, nil)
			r.Expect("g/0:older than it is kept")
			r.Eventually("the place being kept", func() bool { return r.source.intake.Marks()[fromPrefix+"g"] != "0" })
			next := r.Stop()
			f.clock.Move(48 * time.Hour)
			f.put("g", "s", 0, "b")
			r = start(t, f, dir, next, func(c *Config) { c.OnGap = policy })
			if policy == gapFail {
				r.Fails("set on_gap: skip")
				return
			}
			r.Expect("g/0:b")
			if s := r.source.Stats(); s.Gaps != 1 || r.Said("events may be lost") != 1 {
				t.Errorf("%d gaps\n%s", s.Gaps, r.Log)
			}
		})
	}
}

func TestMoreThanIsRememberedCutsTheOverlapShort(t *testing.T) {
	f := newFakeLogs("g")
	for i := range 12 {
		var values []string
		for j := range 1000 {
			values = append(values, fmt.Sprint(1000*i+j))
		}
		f.put("g", "s", time.Duration(12-i)*time.Second, values...)
	}
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.MaxRemembered = mostEvents })
	r.Eventually("the complaint", func() bool { return r.Said("the overlap is cut short")+r.Said("it is cut short") == 1 })
	r.Wait("all events", func(lines map[string][]string) bool { return len(lines["g/0"]) >= 12_000 })
	for range 3 {
		r.passes(f, "g")
	}
	f.clock.Move(time.Hour)
	r.Eventually("the overlap to be whole", func() bool { return r.Said("the overlap is whole again") == 1 })
	if n := len(r.Lines()["g/0"]); n != 12_000 {
		t.Errorf("%d events, want 12000", n)
	}
	if r.source.Stats().Gaps != 1 {
		t.Errorf("%d gaps", r.source.Stats().Gaps)
	}
}

func TestProcessesShareTheGroups(t *testing.T) {
	f := newFakeLogs("g0", "g1", "g2", "g3")
	all := make(map[string]int)
	for i := range 4 {
		f.put(fmt.Sprintf("g%d", i), "s", 0, fmt.Sprint(i))
	}
	for ordinal := range 2 {
		r := start(t, f, t.TempDir(), nil, func(c *Config) {
			c.Groups, c.GroupPrefix, c.Share = nil, "g", sources.Share{Ordinal: sources.Ordinal(ordinal), Count: 2}
		})
		r.Wait("two groups", func(lines map[string][]string) bool { return len(lines) == 2 })
		r.Stop()
		for group := range r.Lines() {
			all[group]++
		}
	}
	if len(all) != 4 {
		t.Errorf("together they read %v", all)
	}
}

func TestPlacesOfGroupsThatAreLongGoneAreForgotten(t *testing.T) {
	f := newFakeLogs("g", "h")
	f.put("h", "s", 0, "x")
	dir := t.TempDir()
	r := start(t, f, dir, nil, func(c *Config) { c.Groups = []string{"g", "h"} })
	r.Expect("h/0:x")
	r.Eventually("the place being kept", func() bool { return r.source.intake.Marks()[fromPrefix+"h"] != "" })
	next := r.Stop()
	for _, step := range []struct {
		after time.Duration
		kept  bool
	}{{24 * time.Hour, true}, {10 * 24 * time.Hour, false}} {
		f.clock.Move(step.after)
		r = start(t, f, dir, next, nil)
		r.passes(f, "g")
		if _, kept := r.source.intake.Marks()[fromPrefix+"h"]; kept != step.kept {
			t.Errorf("after %v: kept %v", step.after, kept)
		}
		next = r.Stop()
	}
}

func TestRequestsKeepToThePace(t *testing.T) {
	f := newFakeLogs()
	p := pace{clock: f.clock, gap: time.Second}
	for range 3 {
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := f.clock.Now().Add(3 * time.Second); !p.next.Equal(want) {
		t.Errorf("the next is at %v, want %v", p.next, want)
	}
	f.clock.Move(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{"groups: [a]\n", ""},
		{"group_prefix: /aws/\nstart: 2024-05-01T12:00:00Z\nend: 2024-05-02T12:00:00Z\n", ""},
		{"region: x\n", "name at least one"},
		{"groups: ['']\n", "name at least one"},
		{"groups: [a]\naccess_key_id: x\n", "go together"},
		{"group_regexp: '('\n", "group_regexp"},
		{"groups: [a]\nstream_regexp: '('\n", "stream_regexp"},
		{"groups: [a]\nstart: yesterday\n", "none of latest"},
		{"groups: [a]\nend: tomorrow\n", "no time such as"},
		{"groups: [a]\nend: 2024-05-01T12:00:00Z\n", "a window with an end"},
		{"groups: [a]\nstart: 2024-05-02T12:00:00Z\nend: 2024-05-01T12:00:00Z\n", "later than start"},
		{"groups: [a]\noverlap: 1ms\n", "from 1s to 24h"},
		{"groups: [a]\nmax_remembered: 1\n", "from 10000"},
		{"groups: [a]\non_gap: never\n", "neither fail nor skip"},
		{"groups: [a]\npoll_interval: 1ms\n", "at least 100ms"},
		{"groups: [a]\nrequests_per_second: 0\n", "more than 0"},
		{"groups: [a]\nrequests_per_second: .nan\n", "more than 0"},
		{"groups: [a]\nreaders: 0\n", "at least 1"},
		{"groups: [a]\nrefresh_interval: 0s\n", "at least 1s"},
		{"groups: [a]\nbackoff_max: 1ms\n", "backoff_min"},
		{"groups: [a]\nshare: {ordinal: 3, count: 3}\n", "one less than count"},
		{"groups: [a]\njournal: {max_bytes: 1}\n", "journal"},
	} {
		node, err := component.Parse([]byte(tc.yaml))
		if err != nil {
			t.Fatal(err)
		}
		c := Default()
		if err := component.Decode(node, &c); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want %q", tc.yaml, err, tc.want)
		}
	}
}

func TestChunksAreReadAsTheyAreWritten(t *testing.T) {
	c := chunk{number: 3, newest: 1714564800000, ids: []eventID{{1}, {2, 3}}}
	if got, err := parseChunk(3, c.String()); err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
		t.Errorf("%v came back as %v, %v", c, got, err)
	}
	for _, text := range []string{"", "1", "x AAAA", "1 AAAA", "1 !"} {
		if got, err := parseChunk(0, text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestEventsWithoutAnIDAreToldApartByWhatTheyAre(t *testing.T) {
	a := types.FilteredLogEvent{LogStreamName: aws.String("s"), Message: aws.String("a"), Timestamp: aws.Int64(1)}
	same, other := a, a
	same.Message, other.Timestamp = aws.String("a"), aws.Int64(2)
	if idOf(&a) != idOf(&same) || idOf(&a) == idOf(&other) {
		t.Error("one is taken for the other")
	}
}
