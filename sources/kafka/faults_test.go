package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline"
	"sluice/pipeline/porttest"
	"sluice/sources"
)

// answerWith makes the broker answer fetches of logs/0 with what f says, until f returns nil.
func answerWith(c *kfake.Cluster, f func(n int) *kmsg.FetchResponseTopicPartition) {
	n := 0
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n++
		p := f(n)
		if p == nil {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.FetchResponse)
		res.Topics = []kmsg.FetchResponseTopic{{Topic: "logs", Partitions: []kmsg.FetchResponseTopicPartition{*p}}}
		return res, nil, true
	})
}

// logOf makes the source write its log to a text.
func logOf(s *Source) *bytes.Buffer {
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.health = sources.NewHealth(s.log)
	return &log
}

// stepClock goes on by a second with every look at it.
type stepClock struct {
	hastyClock
	mu  sync.Mutex
	now time.Time
}

func (c *stepClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func TestABrokerThatHasMoreAndSendsNothingIsGivenUp(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	answers := 0
	answerWith(c, func(n int) *kmsg.FetchResponseTopicPartition {
		if answers = n; n > 20 {
			return nil
		}
		return &kmsg.FetchResponseTopicPartition{HighWatermark: 1, LastStableOffset: 1}
	})
	s := newSource(t, c, func(c *Config) { c.StallTimeout = 5 * time.Second })
	s.clock = &stepClock{now: epoch}
	log := logOf(s)
	expect(t, s, nil, "logs/0@0:a")
	if st := s.Stats(); st.Errors < 2 || st.Reconnects != 1 || strings.Count(log.String(), "\n") != 2 || !strings.Contains(log.String(), "has sent none from 0 on for 5s") {
		t.Errorf("stats %+v after %d answers\n%s", st, answers, log)
	}
}

func TestABrokerThatWaitsForMoreIsNotGivenUp(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	answerWith(c, func(n int) *kmsg.FetchResponseTopicPartition {
		if n > 20 {
			return nil
		}
		return &kmsg.FetchResponseTopicPartition{HighWatermark: 7} // an open transaction holds them back
	})
	s := newSource(t, c, func(c *Config) { c.StallTimeout = 5 * time.Second })
	s.clock = &stepClock{now: epoch}
	expect(t, s, nil, "logs/0@0:a")
	if st := s.Stats(); st.Errors != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestABrokerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	silent := 0
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		if silent++; silent > 2 {
			return nil, nil, false
		}
		c.KeepControl()
		return nil, nil, true
	})
	s := newSource(t, c, func(c *Config) { c.RequestTimeout, c.MaxWait = 3*time.Second, 20*time.Millisecond })
	expect(t, s, nil, "logs/0@0:a")
	if st := s.Stats(); st.Errors != 2 || st.Reconnects != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestALeaderThatMovesIsFollowed(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := newSource(t, c, nil)
	s.config.Brokers = s.config.Brokers[:1]
	produce(t, c, message("logs", 0, "0"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var moves sync.WaitGroup
	var got []string
	err = s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		defer b.Release()
		for _, r := range b.Records {
			got = append(got, string(r.Value))
		}
		if len(got) == 4 {
			cancel()
			return nil
		}
		if err := c.MoveTopicPartition("logs", 0, int32(len(got)%3)); err != nil {
			t.Error(err)
		}
		value := fmt.Sprint(len(got))
		moves.Go(func() { produce(t, c, message("logs", 0, value)) })
		return nil
	})
	moves.Wait()
	if !errors.Is(err, context.Canceled) || strings.Join(got, "") != "0123" {
		t.Errorf("records %q, %v", got, err)
	}
}

func TestAFencedEpochIsLookedUpAnew(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	answerWith(c, func(n int) *kmsg.FetchResponseTopicPartition {
		codes := []int16{kerr.FencedLeaderEpoch.Code, kerr.UnknownLeaderEpoch.Code, kerr.LeaderNotAvailable.Code, kerr.KafkaStorageError.Code}
		if n > len(codes) {
			return nil
		}
		return &kmsg.FetchResponseTopicPartition{ErrorCode: codes[n-1]}
	})
	s := newSource(t, c, nil)
	expect(t, s, nil, "logs/0@0:a")
	if st := s.Stats(); st.Errors != 4 || st.Reconnects != 1 {
		t.Errorf("stats %+v", st)
	}
}

func deleteTopic(t testing.TB, c *kfake.Cluster, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr(topic)}}
	if _, err := req.RequestWith(t.Context(), franz(t, c)); err != nil {
		t.Error(err)
	}
}

func createTopic(t testing.TB, c *kfake.Cluster, topic string, partitions int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}
	if _, err := req.RequestWith(t.Context(), franz(t, c)); err != nil {
		t.Error(err)
	}
}

func TestATopicThatIsDeletedWhileItIsRead(t *testing.T) {
	run := func(t *testing.T, edit func(*Config), clock sources.Clock, after func(*kfake.Cluster), want int) ([]string, *Source, error) {
		c := fake(t, 1, "logs", "other")
		produce(t, c, message("logs", 0, "a"), message("logs", 0, "b"))
		s := newSource(t, c, edit)
		s.clock = clock
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var got []string
		var deleted sync.Once
		err := s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
			defer b.Release()
			for _, r := range b.Records {
				got = append(got, string(r.Value))
			}
			deleted.Do(func() {
				deleteTopic(t, c, "logs")
				after(c)
			})
			if len(got) >= want {
				cancel()
			}
			return nil
		})
		return got, s, err
	}
	t.Run("ends the run", func(t *testing.T) {
		_, _, err := run(t, nil, hastyClock{}, func(*kfake.Cluster) {}, 99)
		if err == nil || !strings.Contains(err.Error(), `topic "logs", partition 0: it was deleted; make it anew or set missing_topic: wait`) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("is waited for and read from its beginning", func(t *testing.T) {
		var late sync.WaitGroup
		defer late.Wait()
		clock := &countClock{at: missingTries + 1, reached: make(chan struct{})}
		got, s, err := run(t, func(c *Config) { c.MissingTopic = missingWait }, clock, func(c *kfake.Cluster) {
			late.Go(func() {
				await(t, "the source looks for the topic again and again", clock.reached)
				createTopic(t, c, "logs", 1)
				for _, value := range []string{"c", "d", "e"} {
					produce(t, c, message("logs", 0, value))
				}
			})
		}, 5)
		if !errors.Is(err, context.Canceled) || strings.Join(got, "") != "abcde" || s.Stats().Gaps != 1 {
			t.Errorf("records %q, %v, stats %+v", got, err, s.Stats())
		}
	})
	t.Run("is let go where a pattern found it, and found again", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c := fake(t, 1, "logs-a", "logs-b")
		clock := &tickClock{tick: make(chan time.Time)}
		s := newSource(t, c, func(c *Config) { c.Topics, c.TopicRegexp = nil, "logs-." })
		s.clock = clock
		produce(t, c, message("logs-a", 0, "0"), message("logs-a", 0, "1"))
		var late sync.WaitGroup
		var got []string
		err := s.Run(ctx, sources.Positions{part("logs-a", 0): 1}, func(_ context.Context, b *pipeline.RecordBatch) error {
			defer b.Release()
			for _, r := range b.Records {
				got = append(got, string(r.Value))
			}
			if len(got) > 1 {
				cancel()
				return nil
			}
			deleteTopic(t, c, "logs-a")
			late.Go(func() {
				for s.knows(part("logs-a", 0)) && ctx.Err() == nil {
					runtime.Gosched()
				}
				createTopic(t, c, "logs-a", 1)
				produce(t, c, message("logs-a", 0, "new"), message("logs-a", 0, "newer"))
				clock.passes(ctx)
			})
			return nil
		})
		cancel() // whatever it ended by: nobody hears a tick any more
		late.Wait()
		if !errors.Is(err, context.Canceled) || strings.Join(got, " ") != "1 new newer" {
			t.Errorf("records %q, %v", got, err)
		}
	})
}

// countClock tells of the wait with a number.
type countClock struct {
	hastyClock
	mu      sync.Mutex
	n, at   int
	reached chan struct{}
}

func (c *countClock) After(d time.Duration) <-chan time.Time {
	if d < time.Minute {
		c.mu.Lock()
		if c.n++; c.n == c.at {
			close(c.reached)
		}
		c.mu.Unlock()
	}
	return c.hastyClock.After(d)
}

// recordBatch is a batch of one record, as bytes.
func recordBatch(offset int64, value string, edit func(*kmsg.RecordBatch)) []byte {
	r := kmsg.Record{Value: []byte(value)}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b := kmsg.RecordBatch{FirstOffset: offset, Magic: 2, ProducerID: -1, NumRecords: 1, Records: r.AppendTo(nil), FirstTimestamp: epoch.UnixMilli()}
	if edit != nil {
		edit(&b)
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

func TestBrokenBatches(t *testing.T) {
	good := recordBatch(0, "good", nil)
	for _, tc := range []struct {
		name, want string
		records    []byte
		answers    int // how often the broken one is sent before a whole one is
	}{
		{"is fetched again", "", append(bytes.Clone(good), 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 99, 0, 0, 0, 0, 9), corruptTries - 1},
		{"ends the run when it stays so", "at offset 1, fetched 5 times: a record batch is corrupt", append(bytes.Clone(good), flip(recordBatch(1, "bad", nil))...), 99},
		{"of an old format ends the run", "at offset 0: the broker sent messages of format 0 or 1", recordBatch(0, "old", func(b *kmsg.RecordBatch) { b.Magic = 1 }), 99},
		{"too large ends the run", "raise max_batch_bytes", recordBatch(0, "large", func(b *kmsg.RecordBatch) {
			b.Attributes = 4
			b.Records = zstdOf(t, make([]byte, 20<<20))
		}), 99},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := fake(t, 1, "logs")
			produce(t, c, message("logs", 0, "good"))
			produce(t, c, message("logs", 0, "next"))
			answerWith(c, func(n int) *kmsg.FetchResponseTopicPartition {
				if n > tc.answers {
					return nil
				}
				return &kmsg.FetchResponseTopicPartition{HighWatermark: 2, LastStableOffset: 2, RecordBatches: tc.records}
			})
			s := newSource(t, c, func(c *Config) { c.MaxBatchBytes = 1 << 20 })
			if tc.want == "" {
				expect(t, s, nil, "logs/0@0:good", "logs/0@1:next")
				return
			}
			if _, err := read(t, s, nil, 9); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func flip(b []byte) []byte { b[len(b)-2] ^= 1; return b }

func TestAnAnswerThatLies(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		answer     func(id []byte) []byte
	}{
		{"about its length", "its answer claims 2147483643 bytes", func(id []byte) []byte { return append([]byte{0x7f, 0xff, 0xff, 0xff}, id...) }},
		{"with a negative length", "its answer claims -5 bytes", func(id []byte) []byte { return append([]byte{0xff, 0xff, 0xff, 0xff}, id...) }},
		{"about the request", "came for request", func([]byte) []byte { return []byte{0, 0, 0, 8, 9, 9, 9, 9, 0, 0, 0, 0} }},
		{"and ends early", "the broker's answer ends early", func(id []byte) []byte { return append(append([]byte{0, 0, 0, 8}, id...), 0, 0, 0, 0) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := fake(t, 1, "logs")
			s := newSource(t, c, nil)
			f := s.newFetcher(part("logs", 0), start{offset: 0}, nil)
			defer f.close()
			if err := f.connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer s.cluster.close()
			_ = f.conn.Close()
			ours, theirs := net.Pipe()
			defer theirs.Close()
			f.conn.Conn = protocolConn(ours)
			var broker sync.WaitGroup
			broker.Go(func() {
				head := make([]byte, 4)
				_, _ = io.ReadFull(theirs, head)
				body := make([]byte, int(head[2])<<8|int(head[3]))
				_, _ = io.ReadFull(theirs, body)
				_, _ = theirs.Write(tc.answer(body[4:8]))
				theirs.Close()
			})
			err := f.step(t.Context())
			broker.Wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAPasswordThatIsWrongEndsTheRunAtItsStartOnly(t *testing.T) {
	c := fake(t, 1, "logs")
	s := newSource(t, c, nil)
	if !s.refused(kafka.SASLAuthenticationFailed) {
		t.Error("tried again at the start")
	}
	produce(t, c, message("logs", 0, "a"))
	expect(t, s, nil, "logs/0@0:a")
	if s.refused(fmt.Errorf("x: %w", kafka.SASLAuthenticationFailed)) {
		t.Error("not tried again once it has worked")
	}
	if !s.refused(kafka.TopicAuthorizationFailed) {
		t.Error("a topic that is forbidden is tried again")
	}
}

func TestTroubleIsLoggedOnceAndPasses(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	answerWith(c, func(n int) *kmsg.FetchResponseTopicPartition {
		if n > 5 {
			return nil
		}
		return &kmsg.FetchResponseTopicPartition{ErrorCode: kerr.NotLeaderForPartition.Code}
	})
	s := newSource(t, c, nil)
	log := logOf(s)
	expect(t, s, nil, "logs/0@0:a")
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
	if st := s.Stats(); st.Errors < 5 {
		t.Errorf("stats %+v", st)
	}
}

func TestABrokerThatGoesAndComes(t *testing.T) {
	port := int(netip.MustParseAddrPort(porttest.Keep(t)).Port())
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(t, c, nil)
	c.Close()
	waited := make(chan struct{})
	s.clock = &onceClock{waited: waited}
	var late sync.WaitGroup
	late.Go(func() {
		await(t, "the source waits", waited)
		again, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "logs"))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(again.Close)
		produce(t, again, message("logs", 0, "a"))
	})
	expect(t, s, nil, "logs/0@0:a")
	late.Wait()
	if st := s.Stats(); st.Errors == 0 || st.Reconnects == 0 {
		t.Errorf("stats %+v", st)
	}
}
