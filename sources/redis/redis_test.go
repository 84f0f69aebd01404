package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func forWays(t *testing.T, test func(t *testing.T, b *broker, c Config)) {
	for name, group := range map[string]string{"with a group": "sluice", "without a group": ""} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			test(t, b, b.config(func(c *Config) { c.Group = group }))
		})
	}
}

func TestARestartGoesOnFromThePosition(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		c.Count = 37
		b.add("logs", 0, 500)
		r := begin(t, c, 0)
		r.awaitRecords(500)
		r.want("logs", 0, 500)
		if c.Group != "" && b.pending() != 500 {
			t.Errorf("%d entries are pending before a commit", b.pending())
		}
		r.commit()
		b.add("logs", 500, 700)
		r.awaitRecords(700)
		r.end() // 500 to 700 are emitted and not committed; the checkpoint stands in their middle

		b.add("logs", 700, 900)
		r = begin(t, c, at(599))
		r.awaitRecords(300)
		r.want("logs", 600, 900)
		r.stop()
		r.commit() // the last one comes after the run
		r.end()
		if c.Group != "" && b.pending() != 0 {
			t.Errorf("%d entries are pending after all were committed", b.pending())
		}
		r = begin(t, c, at(899))
		b.add("logs", 900, 910)
		r.awaitRecords(10)
		r.want("logs", 900, 910)
		r.await("the source to count what it has emitted", func() bool {
			st := r.s.Stats()
			return st.Records == 10 && st.Partitions[0].Next == at(909) && st.Partitions[0].Lag() == 0
		})
		if st := r.s.Stats(); st.Gaps != 0 || st.Errors != 0 {
			t.Errorf("stats are %+v", st)
		}
	})
}

// TestAnswersThatGotLostAreReadAgain breaks connections between the server's delivery and the source.
func TestAnswersThatGotLostAreReadAgain(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		c.Count = 50
		p := newProxy(t, b.s.Addr())
		c.Addresses = []string{"redis://" + p.address()}
		r := begin(t, c, 0)
		for i := range 8 {
			p.limit.Store(int64(3000 + 500*i)) // the connection breaks in the middle of an answer
			b.add("logs", 200*i, 200*(i+1))
			r.await("the trouble", func() bool { return r.s.Stats().Errors > 0 && p.cut() })
			if i%2 == 0 {
				p.limit.Store(0)
				r.awaitRecords(200*i + 1)
				r.commit()
			}
			p.limit.Store(0)
			r.awaitRecords(200 * (i + 1))
			p.broken.Store(false)
		}
		r.want("logs", 0, 1600)
		r.await("the word that it goes on", func() bool {
			return strings.Count(r.log.String(), "reading is interrupted") == strings.Count(r.log.String(), "reading goes on")
		})
		r.commit()
		if c.Group != "" && b.pending() != 0 {
			t.Errorf("%d entries are pending", b.pending())
		}
	})
}

// TestWhatWasDeliveredAndNotHeardOfIsEmitted has entries pending that the source never saw.
func TestWhatWasDeliveredAndNotHeardOfIsEmitted(t *testing.T) {
	for _, shared := range []bool{false, true} {
		b := newBroker(t)
		c := b.config(func(c *Config) { c.SharedGroup = shared })
		b.add("logs", 0, 100)
		r := begin(t, c, 0)
		r.awaitRecords(100)
		r.commit()
		r.end()
		b.add("logs", 100, 200)
		err := b.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "sluice", Consumer: "sluice", Streams: []string{"logs", ">"}, Count: 60, Block: -1}).Err()
		if err != nil {
			t.Fatal(err)
		}
		r = begin(t, c, at(99))
		r.awaitRecords(100)
		r.want("logs", 100, 200)
		r.commit()
		if b.pending() != 0 {
			t.Errorf("%d entries are pending", b.pending())
		}
	}
}

// TestWhatAnEarlierRequestTookIsRead: a process that was killed has left a request at the server, which
// finds entries only when the next process reads already. Here that one is in the pipeline meanwhile.
func TestWhatAnEarlierRequestTookIsRead(t *testing.T) {
	for name, behind := range map[string]int{"and more comes": 1, "and nothing comes any more": 0} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.add("logs", 0, 10)
			r := begin(t, b.config(), 0)
			r.awaitRecords(10)
			r.commit()
			r.end()
			r = beginAt(t, b.config(), at(9), sourcetest.NewClock())
			b.add("logs", 10, 11)
			r.awaitRecords(1)
			r.mu.Lock() // Emit waits
			b.add("logs", 11, 12)
			for limit := time.Now().Add(20 * time.Second); b.pending() < 2; runtime.Gosched() {
				if time.Now().After(limit) {
					r.mu.Unlock()
					t.Fatal("the source does not ask for what comes")
				}
			}
			b.add("logs", 12, 15)
			taken, err := b.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "sluice", Consumer: "sluice", Streams: []string{"logs", ">"}, Count: 3, Block: -1}).Result()
			b.add("logs", 15, 15+behind)
			r.mu.Unlock()
			if err != nil || len(taken[0].Messages) != 3 {
				t.Fatalf("taken were %v, %v", taken, err)
			}
			r.awaitRecords(5 + behind)
			r.want("logs", 10, 15+behind)
			r.commit()
			if b.pending() != 0 {
				t.Errorf("%d entries are pending", b.pending())
			}
		})
	}
}

// TestTheWatchForEarlierRequestsEnds with the longest time that one may wait, and not before it looked once more.
func TestTheWatchForEarlierRequestsEnds(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 4)
	s, err := New("redis", b.config(), sources.Env{Clock: sourcetest.NewClock()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []string
	r := &reader{s: s, stream: s.streams[0], count: 10, known: true, held: true, next: at(0), out: func(_ context.Context, b *pipeline.RecordBatch) error {
		for _, rec := range b.Records {
			got = append(got, string(rec.Value))
		}
		return nil
	}}
	if err := r.join(t.Context()); err != nil || !r.watch {
		t.Fatalf("watching %v, %v", r.watch, err)
	}
	clock := s.clock.(*sourcetest.Clock)
	for line, watching := range []bool{true, true, false, false} {
		if line == 2 {
			clock.Move(longestBlock + lookInterval + 1)
		}
		if err := r.overtake(t.Context(), at(line)-1); err != nil || r.watch != watching {
			t.Errorf("line %d: watching %v, %v", line, r.watch, err)
		}
	}
	if fmt.Sprint(got) != "[line 1 line 2]" {
		t.Errorf("read were %q", got)
	}
}

func TestAnOlderCopyOfTheStateReadsAgainWhatWasAcknowledged(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 100)
	r := begin(t, b.config(), 0)
	r.awaitRecords(100)
	r.commit()
	r.end()
	r = begin(t, b.config(), at(49))
	r.awaitRecords(50)
	r.want("logs", 50, 100)
	b.add("logs", 100, 110)
	r.awaitRecords(60)
	r.want("logs", 50, 110)
}

func TestAcknowledgementsThatGotLostAreMadeUpFor(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 100)
	r := begin(t, b.config(), 0)
	r.awaitRecords(100)
	r.end() // nothing was acknowledged, and the state has all
	r = begin(t, b.config(), at(99))
	r.await("the acknowledgements", func() bool { return b.pending() == 0 })
	if len(r.values["logs"]) > 0 {
		t.Errorf("%d entries were emitted again", len(r.values["logs"]))
	}
}

func TestAGroupThatGivesEntriesAgainIsNotBelieved(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 100)
	r := begin(t, b.config(), 0)
	r.awaitRecords(100)
	r.commit()
	r.end()
	if err := b.client.XGroupDestroy(t.Context(), "logs", "sluice").Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.client.XGroupCreate(t.Context(), "logs", "sluice", "0-0").Err(); err != nil { // as a server that lost its end
		t.Fatal(err)
	}
	r = begin(t, b.config(), at(99))
	b.add("logs", 100, 110)
	r.awaitRecords(10)
	r.want("logs", 100, 110)
	r.commit()
	if b.pending() != 0 {
		t.Errorf("%d entries are pending", b.pending())
	}
}

func TestAGroupIsDivided(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 10)
	var runs [2]*run
	for i := range runs {
		runs[i] = begin(t, b.config(func(c *Config) { c.SharedGroup, c.Consumer, c.Count = true, fmt.Sprint("sluice", i), 5 }), 0)
	}
	b.add("logs", 10, 1000)
	seen := make(map[string]int)
	count := func() int {
		clear(seen)
		for _, r := range runs {
			r.mu.Lock()
			for _, v := range r.values["logs"] {
				seen[v]++
			}
			r.mu.Unlock()
		}
		return len(seen)
	}
	for limit := time.Now().Add(20 * time.Second); count() < 1000; {
		if time.Now().After(limit) {
			t.Fatalf("%d of 1000 entries came", count())
		}
		<-time.After(time.Millisecond)
	}
	for _, r := range runs {
		r.commit()
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", v, n)
		}
	}
	for _, r := range runs {
		r.end()
	}
	r := begin(t, b.config(), 0)
	if err := r.ended(); err == nil || !strings.Contains(err.Error(), "set shared_group: true") {
		t.Errorf("a group with others ends it with %v", err)
	}
}

func TestSeveralStreams(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		c.Streams = []string{"logs", "more"}
		b.add("logs", 0, 50)
		r := begin(t, c, 0)
		r.awaitRecords(50)
		b.add("more", 0, 30) // it did not exist
		r.await("the other stream", func() bool { return len(r.values["more"]) == 30 })
		r.want("logs", 0, 50)
		r.want("more", 0, 30)
		if got := fmt.Sprint(r.told); got != "[redis/logs/0 redis/more/0]" {
			t.Errorf("announced are %s", got)
		}
	})
}

func TestReadingBeginsAtTheLatest(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		c.Start = StartLatest
		b.add("logs", 0, 20)
		r := begin(t, c, 0)
		position := int64(0)
		if c.Group == "" {
			r.await("the beginning", func() bool { return len(r.next) > 0 })
			position = r.next[r.s.streams[0].part]
		} else {
			r.await("the group", func() bool { m, err := r.s.group(t.Context(), "logs"); return err == nil && m != nil })
		}
		r.end() // a crash before the first entry
		b.add("logs", 20, 30)
		r = begin(t, c, position)
		r.awaitRecords(10)
		r.want("logs", 20, 30)
	})
}

func TestEntriesThatCannotBeUsed(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		for i, values := range [][]string{{"message", "line 0"}, {"other", "x"}, {"message", ""}, {"message", "line 1"}} {
			if err := b.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "logs", ID: fmt.Sprint(i+1, "-1"), Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		r := begin(t, c, 0)
		r.awaitRecords(2)
		r.want("logs", 0, 2)
		r.await("the count, which is behind the emitting", func() bool { return r.s.Stats().Drops["entry without the field"] == 1 })
		st := r.s.Stats()
		if len(r.dead) != 1 || r.dead[0].Kind != pipeline.DeadUnreadable || string(r.dead[0].Value) != `{"other":"x"}` || st.Skipped != 1 || st.Drops["entry without the field"] != 1 {
			t.Errorf("dead %+v, stats %+v", r.dead, st)
		}
		err := b.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "logs", ID: "9-9999999", Values: []string{"message", "x"}}).Err()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ended(); err == nil || !strings.Contains(err.Error(), "does not fit into a position") {
			t.Errorf("it ends with %v", err)
		}
	})
}

func TestAStreamThatWentBack(t *testing.T) {
	forWays(t, func(t *testing.T, b *broker, c Config) {
		b.add("logs", 0, 10)
		r := begin(t, c, at(49)) // the state has seen more than there is
		if err := r.ended(); err == nil || !strings.Contains(err.Error(), "sluice state reset --partition redis/logs/0") {
			t.Fatalf("it ends with %v", err)
		}
		r.end()
		c.OnReset = sources.ResetEarliest
		r = begin(t, c, at(49))
		r.awaitRecords(10)
		r.want("logs", 0, 10)
		if r.s.Stats().Gaps != 1 {
			t.Errorf("%d gaps", r.s.Stats().Gaps)
		}
	})
}

func TestAPipelineThatStopsEndsTheRun(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 10)
	r := begin(t, b.config(), 0)
	r.awaitRecords(10)
	r.mu.Lock()
	r.fail = errors.New("stopping")
	r.mu.Unlock()
	b.add("logs", 10, 20)
	if err := r.ended(); !errors.Is(err, r.fail) {
		t.Errorf("it ends with %v", err)
	}
}

func TestWhatTheGroupDeliveredTellsOfAMissingState(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 10)
	r := begin(t, b.config(), 0)
	r.awaitRecords(10)
	if got, err := r.s.Committed(t.Context(), r.s.streams[0].part); err != nil || got != at(9) {
		t.Errorf("the group stands at %d, %v, want %d", got, err, at(9))
	}
	other, err := New("other", b.config(func(c *Config) { c.Group = "other" }), sources.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := other.Committed(t.Context(), other.streams[0].part); err != nil || got != -1 {
		t.Errorf("a group that is not there stands at %d, %v", got, err)
	}
}

func TestWrongPasswordsAreSaidAndNeverShown(t *testing.T) {
	b := newBroker(t)
	b.add("logs", 0, 3)
	b.s.RequireUserAuth("u", "right-secret")
	r := begin(t, b.config(func(c *Config) { c.Username, c.Password = "u", "wrong-secret" }), 0)
	r.await("the trouble", func() bool { return r.s.Stats().Errors > 2 })
	r.end()
	if log := r.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "WRONGPASS") || strings.Contains(log, "secret") {
		t.Errorf("the log is\n%s", log)
	}
	r = begin(t, b.config(func(c *Config) { c.Username, c.Password = "u", "right-secret" }), 0)
	r.awaitRecords(3)
}

func TestMistakesInTheConfiguration(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, says string }{
		"no stream":                   {"group: a\n", "at least one stream"},
		"a stream twice":              {"streams: [a, a]\n", "there twice"},
		"no address":                  {"streams: [a]\naddresses: []\n", "name at least one"},
		"an address without a scheme": {"streams: [a]\naddresses: [\"localhost:6379\"]\n", "no URL"},
		"a password in an address":    {"streams: [a]\naddresses: [\"redis://:hunter2@a\"]\n", "holds a user"},
		"sentinels of a cluster":      {"streams: [a]\ncluster: true\nsentinel_master: m\n", "set cluster or sentinel_master"},
		"a sentinel's password alone": {"streams: [a]\nsentinel_password: x\n", "need it"},
		"a database of a cluster":     {"streams: [a]\ncluster: true\ndatabase: 1\n", "only 0"},
		"a user without a password":   {"streams: [a]\nusername: u\n", "needs a password"},
		"two passwords":               {"streams: [a]\npassword: x\npassword_file: y\n", "one of them"},
		"sharing without a group":     {"streams: [a]\nshared_group: true\n", "needs a group"},
		"a group without a consumer":  {"streams: [a]\ngroup: g\nconsumer: \"\"\n", "needs one"},
		"a start that is none":        {"streams: [a]\nstart: soon\n", "neither earliest nor latest"},
		"an on_reset that is none":    {"streams: [a]\non_reset: never\n", "none of earliest"},
		"a count of none":             {"streams: [a]\ncount: 0\n", "at least 1"},
		"a wait of hours":             {"streams: [a]\nblock: 2h\n", "1ms to 1m"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: redis\n" + tc.yaml))
			if err == nil {
				_, err = sources.New(node, sources.Env{})
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error = %v, want one that says %q", err, tc.says)
			}
		})
	}
}
