package objects

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"sluice/sources"
)

func queued(*Config, *Format) {}

func listed(c *Config, _ *Format) { c.Queue, c.Bucket = "", "logs" }

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v\nwant %v", what, got, want)
	}
}

func TestAnnouncedObjectsAreReadOnceAndTheirMessagesDeletedAtACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", zipped("1\n2\n"))
		w.put("b", "3\n")
		w.put("c", "")
		w.announce("a", "b")
		w.announce("b")
		w.queue.send(probe)
		w.queue.send(event("ObjectCreated:Put", "x"))
		r := w.start(0, queued)
		synctest.Wait()
		expect(t, "read", r.said(), "0.0 1, 0.1 2, 1.0 3")
		expect(t, "left before a checkpoint", w.queue.left(), "[m1 m2 m4]")
		expect(t, "dead", len(r.dead), 1)
		r.commit(offsetOf(0, 2))
		expect(t, "left when it holds one object of two", w.queue.left(), "[m1 m2 m4]")
		r.commit(offsetOf(2, 0))
		expect(t, "left when it holds both", w.queue.left(), "[m4]")
		r.commit(r.behind())
		expect(t, "left", len(w.queue.left()), 0)
		w.announce("c")
		w.announce("a") // and again, days later
		synctest.Wait()
		expect(t, "left of what was read long ago", w.queue.left(), "[m5]")
		r.commit(r.behind())
		expect(t, "left of an empty object", len(w.queue.left()), 0)
		expect(t, "read", r.said(), "0.0 1, 0.1 2, 1.0 3")
		expect(t, "dead", len(r.dead), 1)
		st := r.s.Stats()
		expect(t, "stats", fmt.Sprint(st.Records, st.Skipped, st.Drops, st.Partitions[0].Lag()), "3 1 map[a message of the queue names no object:1] 0")
		r.stop()
	})
}

func TestReadingResumesInsideAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", zipped("1\n2\n3\n"))
		w.put("b", "4\n5\n")
		w.announce("a")
		w.announce("b")
		w.queue.send("not understood")
		r := w.start(0, queued)
		synctest.Wait()
		expect(t, "dead", len(r.dead), 1)
		r.stop() // nothing was deleted: all messages come again
		for _, c := range []struct {
			from       int64
			want       string
			dead, left int
		}{
			{0, "0.0 1, 0.1 2, 0.2 3, 1.0 4, 1.1 5", 1, 3}, {offsetOf(0, 2), "0.2 3, 1.0 4, 1.1 5", 1, 3},
			{offsetOf(1, 0), "1.0 4, 1.1 5", 1, 2}, {offsetOf(1, 2), "", 1, 2}, {offsetOf(2, 0), "", 1, 1}, {offsetOf(3, 0), "", 0, 0},
		} {
			later(time.Hour)
			r := w.start(c.from, queued)
			synctest.Wait()
			expect(t, fmt.Sprint("from ", c.from), r.said(), c.want)
			expect(t, "next", r.behind(), offsetOf(3, 0))
			expect(t, "dead", len(r.dead), c.dead)
			expect(t, "left", len(w.queue.left()), c.left)
			r.stop()
		}
	})
}

func TestVisibilityIsExtendedWhileTheObjectsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", "1\n")
		for range 25 {
			w.announce("a")
		}
		r := w.start(0, queued)
		synctest.Wait()
		later(3 * time.Hour)
		expect(t, "received again", w.queue.receipts, 25)
		if w.queue.extended < 25*20 {
			t.Errorf("the visibility of 25 messages was extended %d times", w.queue.extended)
		}
		if w.queue.extended > 25*int(3*time.Hour/(5*time.Minute/2)) {
			t.Errorf("the visibility of 25 messages was extended %d times: that costs", w.queue.extended)
		}
		w.queue.mu.Lock()
		w.queue.refuse = true // 12 hours are over
		w.queue.mu.Unlock()
		later(10 * time.Minute)
		if w.queue.receipts < 50 {
			t.Errorf("%d messages were received", w.queue.receipts)
		}
		r.commit(r.behind())
		expect(t, "left", len(w.queue.left()), 0)
		expect(t, "read", r.said(), "0.0 1")
		r.stop()
	})
}

func TestAnOutageIsToldOnceAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", "1\n")
		w.queue.fail = errors.New("refused")
		r := w.start(0, queued)
		later(10 * time.Minute)
		w.announce("a")
		expect(t, "read", r.said(), "")
		w.queue.mu.Lock()
		w.queue.fail = nil
		w.queue.mu.Unlock()
		later(time.Minute)
		expect(t, "read", r.said(), "0.0 1")
		st := r.s.Stats()
		if st.Errors < 10 || st.Reconnects != 1 {
			t.Errorf("%d errors and %d recoveries", st.Errors, st.Reconnects)
		}
		w.queue.mu.Lock()
		w.queue.fail = errors.New("refused")
		w.queue.mu.Unlock()
		if err := r.s.Commit(t.Context(), sources.Positions{r.s.partition: r.behind()}); err == nil {
			t.Error("messages were not deleted, and nobody says so")
		}
		w.queue.mu.Lock()
		w.queue.fail = nil
		w.queue.mu.Unlock()
		r.commit(r.behind())
		expect(t, "left", len(w.queue.left()), 0)
		r.stop()
	})
}

// refusal is an answer of S3 that refuses something.
func refusal(code string) error { return &smithy.GenericAPIError{Code: code, Message: "refused"} }

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	whole := zipped("1\n2\n3\n")
	for _, c := range []struct {
		name, text string
		spoil      func(n int, out *s3.GetObjectOutput) error
		read       string
		reason     string
		tries      int
		edit       func(*Config, *Format)
	}{
		{name: "an object that is gone", spoil: func(int, *s3.GetObjectOutput) error { return refusal("NoSuchKey") }, reason: reasonGone, tries: 3},
		{name: "an object that was changed", spoil: func(int, *s3.GetObjectOutput) error { return refusal("PreconditionFailed") }, reason: reasonChanged, tries: 3},
		{name: "access denied", spoil: func(int, *s3.GetObjectOutput) error { return refusal("AccessDenied") }, reason: reasonDenied, tries: 3},
		{name: "an archived object", spoil: func(int, *s3.GetObjectOutput) error { return refusal("InvalidObjectState") }, reason: reasonArchived, tries: 3},
		{name: "gone at first", text: "1\n", spoil: func(n int, _ *s3.GetObjectOutput) error {
			if n < 3 {
				return refusal("NoSuchKey")
			}
			return nil
		}, read: "0.0 1, ", tries: 3},
		{name: "throttling is no poison", text: "1\n", spoil: func(n int, _ *s3.GetObjectOutput) error {
			if n < 20 {
				return refusal("SlowDown")
			}
			return nil
		}, read: "0.0 1, ", tries: 20},
		{name: "expired credentials are no poison", text: "1\n", spoil: func(n int, _ *s3.GetObjectOutput) error {
			if n < 20 {
				return refusal("ExpiredToken")
			}
			return nil
		}, read: "0.0 1, ", tries: 20},
		{name: "gzip that ends too early", text: whole[:len(whole)-9], read: "0.0 1, 0.1 2, 0.2 3, ", reason: reasonPacked, tries: 3},
		{name: "gzip whose sum does not match", text: whole[:len(whole)-8] + "\x00" + whole[len(whole)-7:], read: "0.0 1, 0.1 2, 0.2 3, ", reason: reasonPacked, tries: 3},
		{name: "a gzip header alone", text: "\x1f\x8b", reason: reasonPacked, tries: 3},
		{name: "zstd that is none", text: "\x28\xb5\x2f\xfdgarbage", reason: reasonPacked, tries: 3},
		{name: "more than is allowed", text: zipped(strings.Repeat("x\n", 50)), read: "", reason: reasonTooMuch, tries: 1,
			edit: func(c *Config, _ *Format) { c.MaxObjectBytes = 40 }},
		{name: "a zip bomb", text: zipped("1\n" + strings.Repeat("\n", 64<<20)), read: "", reason: reasonTooMuch, tries: 1},
		{name: "no file of records", text: `{"a":1}`, reason: reasonFormat, tries: 3, edit: asEntries},
		{name: "a file of records that ends too early", text: `{"Records":[{"a":1},{"b":2},{`, read: `0.0 {"a":1}, 0.1 {"b":2}, `, reason: reasonFormat, tries: 3, edit: asEntries},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.put("a", c.text)
				w.put("b", "next\n")
				if c.spoil != nil {
					w.store.spoil = func(key string, n int, out *s3.GetObjectOutput) error {
						if key != "a" {
							return nil
						}
						return c.spoil(n, out)
					}
				}
				w.announce("a")
				w.announce("b")
				r := w.start(0, func(cfg *Config, f *Format) {
					if c.edit != nil {
						c.edit(cfg, f)
					}
				})
				later(time.Hour)
				said := r.said()
				if c.reason == reasonTooMuch { // how much is read of it depends on its packing
					said = said[strings.Index(said, "1.0"):]
				}
				expect(t, "read", said, c.read+"1.0 next")
				var reasons []string
				for _, d := range r.dead {
					reasons = append(reasons, d.Reason)
					if !strings.Contains(string(d.Value), `"key":"a"`) || d.Time.IsZero() {
						t.Errorf("the dead letter %+v", d)
					}
				}
				expect(t, "dead", strings.Join(reasons, ","), c.reason)
				expect(t, "tries", w.store.requests("a"), c.tries)
				r.commit(r.behind())
				expect(t, "left", len(w.queue.left()), 0)
				r.stop()
			})
		})
	}
}

// asEntries makes a of the objects a file of records.
func asEntries(_ *Config, f *Format) {
	f.Treat = func(key string) Treatment { return Treatment{Entries: key == "a"} }
}

func TestWhatIsInterruptedGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var text strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&text, "line %d\n", i)
		}
		w.put("a", text.String())
		w.store.spoil = func(_ string, n int, out *s3.GetObjectOutput) error {
			if n%2 == 0 {
				return errors.New("connection refused")
			}
			out.Body = io.NopCloser(io.MultiReader(io.LimitReader(out.Body, 300_000), brokenReader{}))
			return nil
		}
		w.announce("a")
		r := w.start(0, queued)
		later(time.Hour)
		r.mu.Lock()
		for i, line := range r.lines {
			if want := fmt.Sprintf("0.%d line %d", i, i); line != want {
				t.Fatalf("%q, want %q", line, want)
			}
		}
		expect(t, "lines", len(r.lines), 100_000)
		r.mu.Unlock()
		st := r.s.Stats()
		if st.Errors < 3 || st.Reconnects != 1 {
			t.Errorf("%d errors and %d recoveries", st.Errors, st.Reconnects)
		}
		r.stop()
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestEverythingDeniedIsNoPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var allowed atomic.Bool
		w.store.spoil = func(string, int, *s3.GetObjectOutput) error {
			if allowed.Load() {
				return nil
			}
			return refusal("AccessDenied")
		}
		for i := range 20 {
			key := fmt.Sprintf("k%02d", i)
			w.put(key, key+"\n")
			w.announce(key)
		}
		r := w.start(0, queued)
		later(24 * time.Hour)
		expect(t, "dead", len(r.dead), deniedAtOnce)
		allowed.Store(true)
		later(time.Hour)
		expect(t, "dead", len(r.dead), deniedAtOnce)
		expect(t, "read", len(r.lines), 20-deniedAtOnce)
		expect(t, "recoveries", r.s.Stats().Reconnects, 1)
		r.stop()
	})
}

func TestALongRecordIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("a", `{"Records":[{"a":1},{"a":"`+strings.Repeat("x", 1000)+`"},{"a":2}]}`)
		w.put("b", strings.Repeat("y", 1000)+"\n")
		w.announce("a", "b")
		r := w.start(0, func(c *Config, f *Format) {
			asEntries(c, f)
			c.MaxRecordBytes = 20
		})
		synctest.Wait()
		expect(t, "read", r.said(), `0.0 {"a":1}, 0.2 {"a":2}, 1.0 `+strings.Repeat("y", 20))
		expect(t, "dead", len(r.dead), 1)
		d := r.dead[0]
		expect(t, "the dead letter", fmt.Sprint(d.Reason, d.Size, " ", string(d.Value), d.Position.Offset), reasonLong+`1008 {"a":"xxxxxxxxxxxxxx`+fmt.Sprint(offsetOf(0, 1)))
		expect(t, "cut", r.s.Stats().Cut, 1)
		r.stop()
	})
}

func TestDownloadsRunAheadWithinTheirBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 20 {
			w.put(fmt.Sprintf("k%02d", i), strings.Repeat(fmt.Sprintf("line of %d\n", i), 100_000))
			w.announce(fmt.Sprintf("k%02d", i))
		}
		open := make(chan struct{})
		r := w.start(0, func(c *Config, _ *Format) { c.Downloads, c.DownloadBytes = 4, 4*4*chunkSize })
		r.mu.Lock()
		r.block = open
		r.mu.Unlock()
		synctest.Wait()
		if n := len(w.store.gets); n > 5 {
			t.Errorf("%d objects are fetched while nothing is taken", n)
		}
		close(open)
		later(time.Minute)
		expect(t, "read", len(r.lines), 20*100_000)
		r.stop()
	})
}

func TestAMessageThatComesAgainIsDeletedByItsNewestReceipt(t *testing.T) {
	q := newQueue(&Source{}, nil)
	q.held["m"] = &heldMessage{id: "m", receipt: "r2"}
	q.settle([]heldMessage{{id: "m", receipt: "r1"}}, func(int) bool { return true })
	if q.held["m"] == nil {
		t.Error("the message is forgotten, though only its first receipt was used")
	}
	q.settle([]heldMessage{{id: "m", receipt: "r2"}}, func(int) bool { return true })
	expect(t, "held", len(q.held), 0)
}

func TestFindingWaitsForReading(t *testing.T) {
	for _, edit := range []func(*Config, *Format){queued, listed} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			for i := range 1000 {
				w.put(fmt.Sprintf("%04d", i), "x\n")
				w.announce(fmt.Sprintf("%04d", i))
			}
			r := w.start(0, func(c *Config, f *Format) {
				edit(c, f)
				c.MaxPending = 50
			})
			r.mu.Lock()
			block := make(chan struct{})
			r.block = block
			r.mu.Unlock()
			later(time.Minute)
			if lag := r.s.Stats().Partitions[0].Lag(); lag < 50 || lag > 50+manifestBatch {
				t.Errorf("%d objects were found while none is read", lag)
			}
			close(block)
			later(10 * time.Minute)
			r.commit(r.behind())
			later(10 * time.Minute)
			expect(t, "read", len(r.lines), 1000)
			r.stop()
		})
	}
}

func TestTheManifestOfAnyNameIsBesideTheState(t *testing.T) {
	c := Default()
	c.Bucket, c.Region = "b", "eu-west-1"
	dir := t.TempDir()
	s, err := New("../logs", c, Format{}, sources.Env{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := filepath.Dir(s.dir); got != dir {
		t.Errorf("the manifest is in %s, and the folder of sources is %s", got, dir)
	}
}
