package kinesis

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"sluice/pipeline/component"
	"sluice/sources"
)

func TestShardsAreReadSideBySide(t *testing.T) {
	f := newFakeStream(2)
	f.page, f.answers = 1, 2
	f.put(0, "a", "b", "c")
	f.put(1, "x")
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Labels = map[string]string{"type": "nginx"} })
	r.Expect("logs/0:a,b,c", "logs/1:x")
	f.put(0, "d")
	r.Expect("logs/0:a,b,c,d", "logs/1:x")
	if labels := r.Last("logs/0").Labels; labels["type"] != "nginx" {
		t.Errorf("labels %v", labels)
	}
	if s := r.source.Stats(); s.Records != 5 || s.Errors != 0 || s.Gaps != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestWhereToBegin(t *testing.T) {
	for _, tc := range []struct{ start, want string }{
		{StartTrimHorizon, "logs/0:old,older,new"},
		{StartLatest, "logs/0:new"},
		{"2024-05-01T12:30:00Z", "logs/0:older,new"},
	} {
		t.Run(tc.start, func(t *testing.T) {
			f := newFakeStream(1)
			f.put(0, "old")
			f.clock.Move(time.Hour)
			f.put(0, "older")
			f.clock.Move(time.Hour)
			dir := t.TempDir()
			r := start(t, f, dir, nil, func(c *Config) { c.Start = tc.start })
			r.Eventually("the first read", func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.calls["records shardId-000000000000"] > 0
			})
			f.put(0, "new")
			r.Expect(tc.want)
		})
	}
}

func TestChildrenAreReadAfterTheirParents(t *testing.T) {
	for _, never := range []bool{false, true} {
		t.Run(fmt.Sprintf("the end is not told: %v", never), func(t *testing.T) {
			f := newFakeStream(2)
			f.never = never
			f.put(0, "a")
			f.close([]int{0}, 2) // 2 and 3
			f.put(2, "c")
			f.put(3, "d")
			f.put(1, "b")
			f.close([]int{1, 2}, 1) // 4
			f.put(4, "e")
			var mu sync.Mutex
			open := false
			f.fail = func(call string) error {
				mu.Lock()
				defer mu.Unlock()
				if call == "records shardId-000000000001" && !open {
					return errors.New("later")
				}
				return nil
			}
			r := start(t, f, t.TempDir(), nil, nil)
			// 4 waits for both of its parents.
			r.Expect("logs/0:a", "logs/2:c", "logs/3:d")
			mu.Lock()
			open = true
			mu.Unlock()
			r.Expect("logs/0:a", "logs/1:b", "logs/2:c", "logs/3:d", "logs/4:e")
			if r.Said("a shard has ended") < 3 {
				t.Errorf("it said\n%s", r.Log)
			}
		})
	}
}

func TestARestartGoesOnBehindWhatTheJournalHolds(t *testing.T) {
	f := newFakeStream(1)
	dir := t.TempDir()
	f.put(0, "a", "b")
	r := start(t, f, dir, nil, nil)
	r.Expect("logs/0:a,b")
	next := r.Stop()
	f.put(0, "c")
	f.close([]int{0}, 1)
	f.put(1, "d")
	r = start(t, f, dir, next, func(c *Config) { c.Start = StartLatest })
	r.Expect("logs/0:c", "logs/1:d")
	next = r.Stop()
	f.put(1, "e")
	r = start(t, f, dir, next, nil)
	r.Expect("logs/1:e")
}

func TestAStartAtTheLatestIsKept(t *testing.T) {
	f := newFakeStream(1)
	dir := t.TempDir()
	f.put(0, "old")
	f.clock.Move(time.Second)
	r := start(t, f, dir, nil, func(c *Config) { c.Start = StartLatest })
	r.Eventually("the first read", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.calls["records shardId-000000000000"] > 0
	})
	next := r.Stop()
	f.put(0, "while it was down")
	r = start(t, f, dir, next, func(c *Config) { c.Start = StartLatest })
	r.Expect("logs/0:while it was down")
}

func TestAnExpiredIteratorIsRenewedFromTheMark(t *testing.T) {
	f := newFakeStream(1)
	f.put(0, "a")
	r := start(t, f, t.TempDir(), nil, nil)
	r.Expect("logs/0:a")
	f.do(func() { f.generation++ })
	f.put(0, "b")
	r.Expect("logs/0:a,b")
	if s := r.source.Stats(); s.Errors != 0 || r.Said("interrupted") != 0 {
		t.Errorf("an expired iterator counts as trouble: %+v\n%s", s, r.Log)
	}
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
		{"too many reads now and then", &types.ProvisionedThroughputExceededException{}, 3, 0, 0},
		{"too many reads all the time", &types.ProvisionedThroughputExceededException{}, 20, 1, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeStream(1)
			f.put(0, "a")
			left := tc.times
			f.fail = func(call string) error {
				if strings.HasPrefix(call, "records") && left > 0 {
					left--
					return tc.err
				}
				return nil
			}
			r := start(t, f, t.TempDir(), nil, nil)
			r.Expect("logs/0:a")
			if s := r.source.Stats(); s.Errors != tc.errors || s.Reconnects != uint64(tc.lines) {
				t.Errorf("%d errors, %d recoveries", s.Errors, s.Reconnects)
			}
			if r.Said("reading is interrupted") != tc.lines || r.Said("reading goes on") != tc.lines {
				t.Errorf("it said\n%s", r.Log)
			}
		})
	}
}

func TestTheListOfShardsIsAskedForAgain(t *testing.T) {
	f := newFakeStream(1)
	f.put(0, "a")
	left := 5
	f.fail = func(call string) error {
		if call == "list" && left > 0 {
			left--
			return errors.New("denied")
		}
		return nil
	}
	r := start(t, f, t.TempDir(), nil, nil)
	r.Expect("logs/0:a")
	if r.Said("reading is interrupted") != 1 || r.Said("reading goes on") != 1 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestRecordsThatTheStreamThrewAwayAreAGap(t *testing.T) {
	for _, policy := range []string{gapFail, gapSkip} {
		t.Run(policy, func(t *testing.T) {
			f := newFakeStream(1)
			dir := t.TempDir()
			f.put(0, "a")
			r := start(t, f, dir, nil, nil)
			r.Expect("logs/0:a")
			next := r.Stop()
			f.put(0, "lost")
			f.clock.Move(30 * time.Hour)
			f.do(func() { f.shards[0].trimmed = 2 })
			f.put(0, "b")
			r = start(t, f, dir, next, func(c *Config) { c.OnGap = policy })
			if policy == gapFail {
				r.Fails("set on_gap: skip")
				return
			}
			r.Expect("logs/0:b")
			if s := r.source.Stats(); s.Gaps != 1 || r.Said("records may be lost") != 1 {
				t.Errorf("%d gaps\n%s", s.Gaps, r.Log)
			}
		})
	}
}

func TestAShardThatIsGoneUnreadIsAGap(t *testing.T) {
	f := newFakeStream(1)
	dir := t.TempDir()
	f.put(0, "a")
	r := start(t, f, dir, nil, nil)
	r.Expect("logs/0:a")
	next := r.Stop()
	f.close([]int{0}, 1)
	f.put(1, "b")
	f.do(func() { f.shards[0].unlisted = true })
	start(t, f, dir, next, nil).Fails("had not been read to its end")
	r = start(t, f, dir, next, func(c *Config) { c.OnGap = gapSkip })
	r.Expect("logs/1:b")
	if r.source.Stats().Gaps != 1 {
		t.Errorf("%d gaps", r.source.Stats().Gaps)
	}
}

func TestAStreamThatWasMadeAnewIsNoticed(t *testing.T) {
	f := newFakeStream(1)
	dir := t.TempDir()
	f.put(0, "a")
	r := start(t, f, dir, nil, nil)
	r.Expect("logs/0:a")
	next := r.Stop()
	f = newFakeStream(1)
	f.created = f.created.Add(time.Minute)
	f.put(0, "b")
	start(t, f, dir, next, nil).Fails("deleted and made again")
	r = start(t, f, dir, next, func(c *Config) { c.OnGap = gapSkip })
	r.Expect("logs/0:b")
	f.do(func() { f.created = f.created.Add(time.Minute) })
	r.Fails("while it was read")
}

func TestProcessesShareTheShards(t *testing.T) {
	f := newFakeStream(4)
	for i := range 4 {
		f.put(i, fmt.Sprint(i))
	}
	f.close([]int{3}, 1) // its child's parent is the other's
	f.do(func() { f.shards[4].low = quarter(0); f.shards[4].high = quarterEnd(1) })
	f.put(4, "4")
	for ordinal, want := range [][]string{{"logs/0:0", "logs/1:1", "logs/4:4"}, {"logs/2:2", "logs/3:3"}} {
		r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Share = sources.Share{Ordinal: sources.Ordinal(ordinal), Count: 2} })
		r.Expect(want...)
		r.Stop()
	}
}

func TestAnAnswerIsCutIntoEntries(t *testing.T) {
	f := newFakeStream(1)
	var values []string
	for i := range 2500 {
		values = append(values, fmt.Sprint(i))
	}
	f.put(0, values...)
	r := start(t, f, t.TempDir(), nil, func(c *Config) { c.Readers = 1 })
	r.Expect("logs/0:" + strings.Join(values, ","))
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{"stream: logs\n", ""},
		{"stream: arn:aws:kinesis:eu-west-1:1:stream/logs\nstart: 2024-05-01T12:00:00Z\nshare: {ordinal: auto, count: 3}\n", ""},
		{"region: x\n", "name the stream"},
		{"stream: s\naccess_key_id: x\n", "go together"},
		{"stream: s\nstart: yesterday\n", "none of trim_horizon"},
		{"stream: s\non_gap: never\n", "neither fail nor skip"},
		{"stream: s\nunwrap: paper\n", "neither none nor cloudwatch"},
		{"stream: s\npoll_interval: 100ms\n", "at least 200ms"},
		{"stream: s\nmax_records: 10001\n", "from 1 to 10000"},
		{"stream: s\nreaders: 0\n", "at least 1"},
		{"stream: s\nrefresh_interval: 0s\n", "at least 1s"},
		{"stream: s\nbackoff_max: 1ms\n", "backoff_min"},
		{"stream: s\nshare: {ordinal: 3, count: 3}\n", "one less than count"},
		{"stream: s\njournal: {max_bytes: 1}\n", "journal"},
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
	c := Default()
	c.Stream = "arn:aws:kinesis:eu-west-1:1:stream/logs"
	if c.streamName() != "logs" {
		t.Errorf("name %q", c.streamName())
	}
}

func TestMarksAreReadAsTheyAreWritten(t *testing.T) {
	at := time.UnixMilli(1714565000123).UTC()
	for _, m := range []mark{
		{place: placeOldest, seen: at}, {place: placeEnd, seen: at}, {place: placeTime, at: at.Add(time.Hour), seen: at},
		{place: placeAfter, sequence: "49590338271490256608559692538361571095921575989136588898", seen: at},
		{place: placeWithin, sequence: "4959", part: 7, seen: at},
	} {
		if got, err := parseMark(m.String()); err != nil || got != m {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	for _, text := range []string{"", "after 1", "after 1 x", "time x 1", "within 1 1", "within 1+0 1", "nowhere - 1", "after 1 2 3"} {
		if m, err := parseMark(text); err == nil {
			t.Errorf("%q is read as %+v", text, m)
		}
	}
}

func TestASlowReaderIsOvertakenBySteps(t *testing.T) {
	var g gapWatch
	now := time.Date(2024, 5, 2, 12, 0, 0, 0, time.UTC)
	if g.check(now.Add(-23*time.Hour), now, 24*time.Hour) || g.check(time.Time{}, now, 24*time.Hour) {
		t.Error("records that the stream still keeps are a gap")
	}
	for i := range 6 {
		if g.check(now.Add(-24*time.Hour-10*time.Second), now, 24*time.Hour) {
			t.Errorf("a gap after %d steps of 10s", i+1)
		}
	}
	if !g.check(now.Add(-24*time.Hour-10*time.Second), now, 24*time.Hour) {
		t.Error("no gap after 70s")
	}
}
