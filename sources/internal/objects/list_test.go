package objects

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sluice/sources"
)

func TestAListingReadsInTheOrderOfKeysAndFindsWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, k := range []string{"b", "a", "c/1"} {
			w.put(k, k+"\n")
		}
		r := w.start(0, listed)
		synctest.Wait()
		expect(t, "read", r.said(), "0.0 a, 1.0 b, 2.0 c/1")
		later(3 * time.Hour)
		w.put("d", "d\n")
		later(30 * time.Minute)
		w.put("c/2", "late\n") // an object with a greater key is within the lookback
		later(2 * time.Minute)
		expect(t, "read", r.said(), "0.0 a, 1.0 b, 2.0 c/1, 3.0 d, 4.0 late")
		later(3 * time.Hour)
		w.put("c/3", "too late\n")
		later(3 * time.Hour)
		expect(t, "read", r.said(), "0.0 a, 1.0 b, 2.0 c/1, 3.0 d, 4.0 late")
		from := r.behind()
		r.stop()
		w.put("e", "e\n")
		r = w.start(from, listed)
		synctest.Wait()
		expect(t, "read after a restart", r.said(), "5.0 e")
		r.stop()
	})
}

func TestPrefixesAreMergedInTheOrderOfTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var want []string
		for i := range 60 { // in b the keys are older than in a, and in each they grow
			key := fmt.Sprintf("AWSLogs/%s/x/%03d", []string{"b", "a", "c"}[i%3], i)
			w.put(key, key+"\n")
			want = append(want, fmt.Sprintf("%d.0 %s", i, key))
			later(time.Second)
		}
		w.put("AWSLogs/a/y/000", "another folder\n")
		w.put("AWSLogs/d", "no folder\n")
		merged := func(c *Config, f *Format) {
			listed(c, f)
			f.Prefixes = []string{"AWSLogs/[ab]/x/", "AWSLogs/c/x/"}
			c.MaxPending, c.BatchRecords = 7, 1
		}
		later(time.Hour)
		r := w.start(0, merged)
		later(time.Hour)
		expect(t, "read", r.said(), strings.Join(want, ", "))
		w.put("AWSLogs/a/x/100", "new\n")
		later(2 * time.Minute)
		expect(t, "read", strings.HasSuffix(r.said(), ", 60.0 new"), true)
		r.stop()
	})
}

// TestARunThatIsEndedAnywhereGivesTheSameOffsets ends runs after some records and
// resumes them where a checkpoint, older than that, stood.
func TestARunThatIsEndedAnywhereGivesTheSameOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 40 {
			key := fmt.Sprintf("%c/%03d", 'a'+i%2, i)
			w.put(key, zipped(strings.Repeat(key+"\n", i%5)))
		}
		edit := func(c *Config, f *Format) {
			listed(c, f)
			f.Prefixes = []string{"a/", "b/"}
			c.MaxPending, c.BatchRecords, c.Downloads = 3, 2, 2
		}
		r := w.start(0, edit)
		later(time.Minute)
		want, end := r.lines, r.behind()
		r.stop()
		if len(want) < 70 {
			t.Fatalf("only %d records were read", len(want))
		}
		w.dir = t.TempDir()
		var got []string
		from := int64(0)
		for from < end {
			r := w.start(from, func(c *Config, f *Format) {
				edit(c, f)
				treat := f.Treat
				f.Treat = func(key string) Treatment { return treat(key) }
			})
			r.mu.Lock()
			r.block = make(chan struct{}) // of which some batches pass
			passing := r.block
			r.mu.Unlock()
			synctest.Wait()
			for range 3 {
				r.mu.Lock()
				r.block = make(chan struct{})
				close(passing)
				passing = r.block
				r.mu.Unlock()
				synctest.Wait()
			}
			r.mu.Lock()
			lines, next := r.lines, r.next
			r.mu.Unlock()
			r.stop()
			if next <= from {
				t.Fatalf("reading does not go on behind %d", from)
			}
			got, from = append(got, lines...), next
		}
		expect(t, "read in pieces", strings.Join(got, "\n"), strings.Join(want, "\n"))
	})
}

func TestAListingBeginsWhereItIsTold(t *testing.T) {
	for _, c := range []struct{ start, want string }{
		{"beginning", "0.0 a, 1.0 b, 2.0 c"}, {"end", "0.0 c"}, {"2000-01-01T01:00:00Z", "0.0 b, 1.0 c"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t) // the bubble's time begins with the year 2000
			w.put("a", "a\n")
			later(90 * time.Minute)
			w.put("b", "b\n")
			later(90 * time.Minute)
			edit := func(c2 *Config, f *Format) {
				listed(c2, f)
				c2.Start = c.start
			}
			r := w.start(0, edit)
			synctest.Wait()
			from := r.behind()
			r.stop()
			later(time.Minute)
			w.put("c", "c\n")
			said := r.said()
			r = w.start(from, edit)
			synctest.Wait()
			expect(t, c.start, strings.TrimPrefix(said+", "+r.said(), ", "), c.want)
			r.stop()
		})
	}
}

func TestTooManyWithinTheLookbackAreCountedAsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 1200 {
			w.put(fmt.Sprintf("%04d", i), "x\n")
		}
		r := w.start(0, func(c *Config, f *Format) {
			listed(c, f)
			c.RememberObjects, c.MaxPending = 1000, 500
		})
		later(30 * time.Minute) // passes, of which none may find an object again
		expect(t, "read", len(r.lines), 1200)
		if gaps := r.s.Stats().Gaps; gaps == 0 {
			t.Error("no gap was counted")
		}
		r.stop()
	})
}

func TestAListingThatFailsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a/1", "1\n")
		w.store.list = func(*s3.ListObjectsV2Input) error { return errors.New("no route") }
		r := w.start(0, func(c *Config, f *Format) {
			listed(c, f)
			f.Prefixes = []string{"*/"}
		})
		later(5 * time.Minute)
		w.store.mu.Lock()
		w.store.list = nil
		w.store.mu.Unlock()
		later(time.Minute)
		expect(t, "read", r.said(), "0.0 1")
		expect(t, "recoveries", r.s.Stats().Reconnects, 1)
		r.stop()
	})
}

func TestKeysAreChosenAndLabelled(t *testing.T) {
	c := testConfig()
	c.Include, c.Exclude = []string{"logs/*/a.*", "deep/**"}, []string{"**.tmp"}
	c.LabelsFromKey = `^logs/(?P<host>[^/]+)/|^deep/(?P<team>[^/]+)/`
	labels := map[string]string{"type": "x", "host": "none"}
	s, err := New("in", c, Format{Treat: func(string) Treatment { return Treatment{Labels: labels} }}, sources.Env{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, want string }{
		{"logs/h1/a.log", "map[host:h1 type:x]"}, {"logs/h1/b.log", reasonExcluded}, {"logs/h1/h2/a.log", reasonExcluded},
		{"deep/red/b/c", "map[host:none team:red type:x]"}, {"deep/red/c.tmp", reasonExcluded}, {"deep/x", "map[host:none type:x]"},
	} {
		got := s.treat(c.key)
		if text := got.Skip; text == "" && fmt.Sprint(got.Labels) != c.want || text != "" && text != c.want {
			t.Errorf("%s: %+v, want %s", c.key, got, c.want)
		}
	}
	expect(t, "the labels of the source", labels, "map[host:none type:x]")
}

func TestAManifestThatDoesNotFitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", "1\n2\n")
		w.announce("a")
		r := w.start(0, queued)
		synctest.Wait()
		r.stop()
		w2 := *w
		w2.dir = t.TempDir()
		for _, c := range []struct {
			name, want string
			from       int64
			w          *world
			edit       func(*Config, *Format)
		}{
			{"the state has read more objects", "bring the folder back", offsetOf(2, 0), w, queued},
			{"the folder is gone", "bring the folder back", offsetOf(0, 1), &w2, queued},
			{"it is another queue's", "a name of its own", 0, w, func(c *Config, _ *Format) { c.Queue = "https://queue/other" }},
		} {
			r := c.w.start(c.from, c.edit)
			err := <-r.done
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			if err := r.s.Close(); err != nil {
				t.Error(err)
			}
		}
		s, err := New("in", r.s.config, r.s.format, sources.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "set state.dir") {
			t.Errorf("without a folder: %v", err)
		}
	})
}

func TestTheManifestIsTrimmedOfWhatIsNoLongerKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.segment = 32 << 10
		edit := func(c *Config, _ *Format) { c.Remember, c.Lookback = 24*time.Hour, 0 }
		r := w.start(0, edit)
		size := func() (n int64) {
			files, err := filepath.Glob(filepath.Join(w.dir, "in", "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if info, err := os.Stat(f); err == nil {
					n += info.Size()
				}
			}
			return n
		}
		const objects = 120
		for i := range objects {
			// A message that is not understood is the largest thing that the manifest holds.
			w.queue.send(fmt.Sprintf("%d %s", i, strings.Repeat("x", 8<<10)))
			later(time.Hour)
			r.commit(r.behind())
		}
		if n := size(); n > 200<<10 {
			t.Errorf("the manifest takes %d bytes of %d", n, objects*flawBytes)
		}
		expect(t, "dead", len(r.dead), objects)
		from := r.behind()
		r.stop()
		r = w.start(from, edit)
		later(time.Minute)
		expect(t, "read again", len(r.dead), 0)
		r.stop()
		r = w.start(0, edit) // the state was reset, and the manifest was not
		later(time.Minute)
		if n := len(r.dead); n < 24 || n > objects/2 {
			t.Errorf("%d objects are read again, and those of a day are known", n)
		}
		expect(t, "read up to", r.behind(), from)
		r.stop()
	})
}

func TestWhatIsAppendedIsSyncedWhenAppendReturns(t *testing.T) {
	s, err := New("in", testConfig(), Format{}, sources.Env{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.openJournal(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- log.run(ctx) }()
	for i := range int64(20) {
		if err := log.append(t.Context(), [][]byte{[]byte("{}")}, map[string]string{"n": fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if _, next := log.ends(); next != i+1 || log.marks()["n"] != fmt.Sprint(i) {
			t.Fatalf("%d of %d are there, and the mark is %s", next, i+1, log.marks()["n"])
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := log.append(t.Context(), [][]byte{[]byte("{}")}, nil); err == nil {
		t.Error("a log that is not written takes something")
	}
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
}

// stuckLog is a log on a disk that has become full.
type stuckLog struct {
	refLog
	stuck chan struct{}
}

func (l *stuckLog) append(ctx context.Context, records [][]byte, marks map[string]string) error {
	select {
	case <-l.stuck:
		<-ctx.Done()
		return ctx.Err()
	default:
		return l.refLog.append(ctx, records, marks)
	}
}

func TestAFullDiskHoldsUpNeitherReadingNorTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", "1\n")
		w.put("b", "2\n")
		w.announce("a")
		stuck := make(chan struct{})
		w.log = func(l refLog) refLog { return &stuckLog{l, stuck} }
		r := w.start(0, queued)
		later(time.Second)
		close(stuck)
		w.announce("b")
		later(time.Minute)
		expect(t, "read", r.said(), "0.0 1")
		r.commit(r.behind())
		expect(t, "left", w.queue.left(), "[m2]")
		from := r.behind()
		r.stop()
		if _, err := r.s.manifest.add(t.Context(), nil, nil); err == nil {
			t.Error("a manifest of which nobody knows what it holds takes more")
		}
		w.log = nil
		later(time.Hour)
		r = w.start(from, queued)
		later(time.Minute)
		expect(t, "read", r.said(), "1.0 2")
		r.stop()
	})
}

func testConfig() Config {
	c := Default()
	c.Queue, c.Region = "q", "r"
	return c
}

func TestMemoryForgetsWhatItMay(t *testing.T) {
	m := newMemory(4)
	id := func(n int64) identity { return identity{byte(n)} }
	known := func() (out []int64) {
		for n := range int64(20) {
			if _, ok := m.number(id(n)); ok {
				out = append(out, n)
			}
		}
		return out
	}
	for n := range int64(4) {
		m.add(remembered{id: id(n), seq: n, until: 100 + n, hard: map[int64]int64{1: 200}[n]})
	}
	m.forget(0, 4)
	expect(t, "none is too many", known(), "[0 1 2 3]")
	m.forget(101, 4)
	expect(t, "the first is over, the second must stay and holds up the others", known(), "[1 2 3]")
	for n := int64(4); n < 7; n++ {
		m.add(remembered{id: id(n), seq: n, until: 300})
	}
	m.forget(101, 6)
	expect(t, "too many: the oldest that may go", known(), "[1 4 5 6]")
	expect(t, "the oldest that is known", m.oldest(9), 1)
	m.forget(250, 6)
	expect(t, "what is over waits behind what is not", known(), "[1 4 5 6]")
	for n := int64(7); n < 12; n++ {
		m.add(remembered{id: id(n), seq: n, until: 300})
	}
	m.forget(250, 0)
	expect(t, "what was not read must stay, however many", known(), "[1 4 5 6 7 8 9 10 11]")
	m.forget(400, 12)
	expect(t, "all are over", known(), "[]")
	expect(t, "the next", m.oldest(12), 12)
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		edit       func(*Config)
	}{
		{"neither queue nor bucket", "queue: ", func(c *Config) { c.Queue = "" }},
		{"both", "bucket: ", func(c *Config) { c.Bucket = "b" }},
		{"an owner of a URL", "queue_owner: ", func(c *Config) { c.Queue, c.QueueOwner = "https://a/b", "1" }},
		{"a bucket with a prefix", "bucket: ", func(c *Config) { c.Queue, c.Bucket = "", "b/c" }},
		{"an empty pattern", "include: ", func(c *Config) { c.Include = []string{""} }},
		{"no regular expression", "labels_from_key: ", func(c *Config) { c.LabelsFromKey = "(" }},
		{"no group", "labels_from_key: ", func(c *Config) { c.LabelsFromKey = "(a)" }},
		{"no start", "start: ", func(c *Config) { c.Start = "noon" }},
		{"too short a visibility", "visibility_timeout: ", func(c *Config) { c.VisibilityTimeout = time.Second }},
		{"too few in flight", "max_in_flight: ", func(c *Config) { c.MaxInFlight = 9 }},
		{"no receivers", "receivers: ", func(c *Config) { c.Receivers = 0 }},
		{"no poll interval", "poll_interval: ", func(c *Config) { c.PollInterval = 0 }},
		{"no prefix interval", "prefix_interval: ", func(c *Config) { c.PrefixInterval = 0 }},
		{"a negative lookback", "lookback: ", func(c *Config) { c.Lookback = -1 }},
		{"remembering less than the lookback", "remember: ", func(c *Config) { c.Remember = time.Minute }},
		{"remembering few", "remember_objects: ", func(c *Config) { c.RememberObjects = 1 }},
		{"more pending than remembered", "max_pending: ", func(c *Config) { c.MaxPending = c.RememberObjects }},
		{"no downloads", "downloads: ", func(c *Config) { c.Downloads = 0 }},
		{"little memory", "download_bytes: ", func(c *Config) { c.DownloadBytes = 1 }},
		{"no tries", "tries: ", func(c *Config) { c.Tries = 0 }},
		{"no object", "max_object_bytes: ", func(c *Config) { c.MaxObjectBytes = 0 }},
		{"no ratio", "max_ratio: ", func(c *Config) { c.MaxRatio = 0 }},
		{"no record", "max_record_bytes: ", func(c *Config) { c.MaxRecordBytes = 0 }},
		{"no batch", "batch_records: ", func(c *Config) { c.BatchRecords = 0 }},
		{"AWS's settings", "max_attempts: ", func(c *Config) { c.MaxAttempts = 0 }},
	} {
		cfg := Default()
		cfg.Queue = "q"
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c.edit(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	for prefix, ok := range map[string]bool{"": true, "a/b": true, "a/*/b": true, "*/": true, "/a": false, "a/*": false, "a/[/b": false} {
		if err := ValidatePrefix(prefix); (err == nil) != ok {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestTheQueueIsFoundByItsName(t *testing.T) {
	for name, want := range map[string]string{"logs": "logs", "arn:aws:sqs:eu-west-1:123456789012:logs": "logs", "https://sqs.eu-west-1.amazonaws.com/123456789012/logs": "logs"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.put("a", "1\n")
			w.announce("a")
			r := w.start(0, func(c *Config, _ *Format) { c.Queue = name })
			synctest.Wait()
			expect(t, "read", r.said(), "0.0 1")
			expect(t, "topic", r.s.partition.Topic, want)
			r.stop()
		})
	}
}
