package nats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline"
)

func retained(p jetstream.RetentionPolicy) jetstream.StreamConfig {
	return jetstream.StreamConfig{Retention: p}
}

// kinds are the ways to read that must all count each message once.
var kinds = map[string]struct {
	retention jetstream.RetentionPolicy
	consumer  string
}{
	"limits, with a consumer":    {jetstream.LimitsPolicy, "sluice"},
	"limits, without a consumer": {jetstream.LimitsPolicy, ""},
	"a work queue":               {jetstream.WorkQueuePolicy, "sluice"},
	"interest":                   {jetstream.InterestPolicy, "sluice"},
}

func forKinds(t *testing.T, test func(t *testing.T, b *broker, c Config, retention jetstream.RetentionPolicy)) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.stream(retained(k.retention))
			test(t, b, b.config(func(c *Config) { c.Consumer = k.consumer }), k.retention)
		})
	}
}

// interested has interest in the stream before anything is published.
func interested(t *testing.T, c Config) {
	t.Helper()
	r := begin(t, c, "", 0)
	r.await("the consumer", func() bool { return r.next > 0 })
	r.end()
}

func TestMessagesAreReadInOrderWithSubjectAndHeaders(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	for i := range 3 {
		m := &nats.Msg{Subject: fmt.Sprint("logs.host", i), Data: fmt.Append(nil, "line ", i), Header: nats.Header{}}
		m.Header.Add("type", "nginx")
		m.Header.Add("b", "2")
		m.Header.Add("b", "3")
		if _, err := b.connect().PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.js.Publish(t.Context(), "logs.empty", nil); err != nil {
		t.Fatal(err)
	}
	r := begin(t, b.config(), "", 0)
	r.await("the end", func() bool { return r.next == 5 })
	r.want(0, 3)
	if got := fmt.Sprint(r.keys, r.offsets, r.told); got != "[logs.host0 logs.host1 logs.host2] [1 2 3] [nats/LOGS/0]" {
		t.Errorf("keys, offsets and partitions are %s", got)
	}
	want := []pipeline.Header{{Key: "b", Value: []byte("2")}, {Key: "b", Value: []byte("3")}, {Key: "type", Value: []byte("nginx")}}
	if got := fmt.Sprintf("%s", r.headers[1]); got != fmt.Sprintf("%s", want) {
		t.Errorf("headers are %s, want %s", got, want)
	}
	r.await("the count, which is behind the emitting", func() bool { return r.s.Stats().Partitions[0].Next == 5 })
	st := r.s.Stats()
	if st.Records != 3 || st.Skipped != 1 || st.Bytes != 18 || st.Partitions[0].Lag() != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestARestartGoesOnFromThePosition(t *testing.T) {
	forKinds(t, func(t *testing.T, b *broker, c Config, retention jetstream.RetentionPolicy) {
		if c.Consumer != "" {
			interested(t, c)
		}
		b.publish("logs.a", 0, 500)
		r := begin(t, c, "", 0)
		r.awaitRecords(500)
		r.want(0, 500)
		if c.Consumer != "" {
			if floor := b.consumer("sluice").AckFloor.Stream; floor != 0 {
				t.Errorf("%d messages are acknowledged before a commit", floor)
			}
		}
		r.commit()
		b.publish("logs.a", 500, 700)
		r.awaitRecords(700)
		r.kill() // 500 to 700 are emitted, not committed; the checkpoint stands in their middle

		b.publish("logs.a", 700, 900)
		r = begin(t, c, "", 601)
		r.awaitRecords(300)
		r.want(600, 900)
		r.commit()
		r.end()
		if c.Consumer != "" {
			b.await("the acknowledgements", func() bool {
				info := b.consumer("sluice")
				return info.NumAckPending == 0 && info.NumPending == 0
			})
		}
		left := uint64(0)
		if retention == jetstream.LimitsPolicy {
			left = 900
		}
		b.await("the stream to keep what it should", func() bool { return b.state().Msgs == left })
		r = begin(t, c, "", 901)
		b.publish("logs.a", 900, 910)
		r.awaitRecords(10)
		r.want(900, 910)
		if st := r.s.Stats(); st.Gaps != 0 || st.Errors != 0 {
			t.Errorf("stats are %+v", st)
		}
	})
}

// TestTheServerGoesAway kills connections under load, with messages on their way.
func TestTheServerGoesAway(t *testing.T) {
	forKinds(t, func(t *testing.T, b *broker, c Config, retention jetstream.RetentionPolicy) {
		c.MaxMessages, c.BatchRecords = 100, 7
		if c.Consumer != "" {
			interested(t, c)
		}
		const n = 3000
		b.publish("logs.a", 0, n)
		r := begin(t, c, "", 0)
		for i := range 3 {
			r.awaitRecords(300 * (i + 1))
			if i == 1 {
				r.commit()
			}
			b.stop()
			b.start()
		}
		r.awaitRecords(n)
		r.want(0, n)
		r.commit()
		if st := r.s.Stats(); st.Errors == 0 || st.Reconnects == 0 || st.Gaps != 0 {
			t.Errorf("stats are %+v", st)
		}
		r.await("the word that it goes on", func() bool {
			return strings.HasSuffix(strings.TrimSpace(r.log.String()), "\"reading goes on\" source=nats")
		})
		went, back := strings.Count(r.log.String(), "reading is interrupted"), strings.Count(r.log.String(), "reading goes on")
		if went != back || went < 1 || went > 3 {
			t.Errorf("the log has %d lines of trouble and %d of its end:\n%s", went, back, r.log)
		}
		if c.Consumer != "" {
			r.await("the acknowledgements", func() bool { i := b.consumer("sluice"); return i.NumAckPending == 0 && i.NumPending == 0 })
		}
	})
}

// TestDeliveriesThatGotLostComeAgainInOrder takes messages from under the source.
func TestDeliveriesThatGotLostComeAgainInOrder(t *testing.T) {
	forKinds(t, func(t *testing.T, b *broker, c Config, _ jetstream.RetentionPolicy) {
		if c.Consumer == "" {
			t.Skip("skipped 1 way: nobody else can name a passing consumer")
		}
		r := begin(t, c, "", 0)
		r.await("the consumer", func() bool { return r.next > 0 })
		consumer, err := b.connect().Consumer(t.Context(), "LOGS", "sluice")
		if err != nil {
			t.Fatal(err)
		}
		stolen := 0
		for round := range 5 {
			b.publish("logs.a", round*100, (round+1)*100)
			thief, err := consumer.FetchNoWait(10)
			for err == nil {
				_, ok := <-thief.Messages()
				if !ok {
					break
				}
				stolen++
			}
			thief, err = consumer.Fetch(5, jetstream.FetchMaxWait(100*time.Millisecond)) // waits in the queue beside the source
			if err != nil {
				t.Fatal(err)
			}
			b.publish("logs.a", (round+1)*100, (round+1)*100) // nothing: only waits
			for range thief.Messages() {
				stolen++
			}
			r.awaitRecords((round + 1) * 100)
		}
		r.want(0, 500)
		t.Logf("%d deliveries went elsewhere", stolen)
	})
}

// TestARequestOfAnEarlierProcessTakesNothing: a process that was killed has asked for messages, and
// the server has not seen its connection close. What comes next is not for it.
func TestARequestOfAnEarlierProcessTakesNothing(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	c := b.config()
	c.AckWait = time.Hour
	interested(t, c)
	b.connect()
	if err := b.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.LOGS.sluice", deaf(t, b), []byte(`{"batch":1000,"expires":300000000000}`)); err != nil {
		t.Fatal(err)
	}
	b.await("the request", func() bool { return b.consumer("sluice").NumWaiting > 0 })
	gate := make(chan struct{})
	r := beginWith(t, c, "", 0, gate)
	r.await("the consumer, in place and asked for nothing", func() bool { return r.asked == 1 })
	b.publish("logs.a", 0, 50)
	close(gate)
	r.awaitRecords(50)
	r.want(0, 50)
}

// deaf is a subject that somebody listens to who never answers.
func deaf(t *testing.T, b *broker) string {
	t.Helper()
	inbox := nats.NewInbox()
	if _, err := b.conn.Subscribe(inbox, func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	return inbox
}

func TestWhereReadingBegins(t *testing.T) {
	for name, tc := range map[string]struct {
		start string
		want  int
	}{
		"earliest": {StartEarliest, 0},
		"latest":   {StartLatest, 20},
		"a time":   {"", 10},
	} {
		for _, consumer := range []string{"", "sluice"} {
			t.Run(name+" "+consumer, func(t *testing.T) {
				b := newBroker(t)
				b.stream(jetstream.StreamConfig{})
				b.publish("logs.a", 0, 10)
				start := tc.start
				if start == "" {
					start = time.Now().UTC().Format(time.RFC3339Nano)
				}
				b.publish("logs.a", 10, 20)
				c := b.config(func(c *Config) { c.Start, c.Consumer = start, consumer })
				r := begin(t, c, "", 0)
				r.await("the beginning", func() bool { return r.next > 0 })
				next := r.kill() // a crash before the first record that is new
				if tc.start == StartLatest && next != 21 {
					t.Errorf("it begins at %d", next)
				}
				b.publish("logs.a", 20, 30)
				if tc.start == StartLatest {
					r = begin(t, c, "", next)
				} else {
					c.Consumer = "another"
					r = begin(t, c, "", 0)
				}
				r.awaitRecords(30 - tc.want)
				r.want(tc.want, 30)
			})
		}
	}
}

func TestSubjectsAreSharedOut(t *testing.T) {
	forKinds(t, func(t *testing.T, b *broker, c Config, retention jetstream.RetentionPolicy) {
		var runs [2]*run
		for i := range runs {
			own := c
			own.FilterSubjects = []string{fmt.Sprint("logs.", i, ".>"), fmt.Sprint("more.", i)}[:1]
			if c.Consumer != "" {
				own.Consumer = fmt.Sprint("sluice", i)
			}
			runs[i] = begin(t, own, "", 0)
			runs[i].await("the consumer", func() bool { return runs[i].next > 0 })
		}
		b.publish("logs.0.a", 0, 100)
		b.publish("logs.1.a", 0, 100)
		for _, r := range runs {
			// The position follows over what belongs to the other.
			r.await("all", func() bool { return len(r.values) == 100 && r.next == 201 })
			r.want(0, 100)
			r.await("the count, which is behind the emitting", func() bool { return r.s.Stats().Partitions[0].Next == 201 })
			if lag := r.s.Stats().Partitions[0].Lag(); lag != 0 {
				t.Errorf("the lag is %d", lag)
			}
			r.commit()
			r.end()
		}
		for i := range runs {
			own := c
			own.FilterSubjects = []string{fmt.Sprint("logs.", i, ".>")}
			if c.Consumer != "" {
				own.Consumer = fmt.Sprint("sluice", i)
			}
			r := begin(t, own, "", 201)
			b.publish(fmt.Sprint("logs.", i, ".b"), 100, 110)
			r.awaitRecords(10)
			r.want(100, 110)
			if strings.Contains(r.log.String(), "WARN") {
				t.Errorf("it warns:\n%s", r.log)
			}
		}
		if retention == jetstream.WorkQueuePolicy {
			b.await("the queue to shrink", func() bool { return b.state().Msgs == 20 })
		}
	})
}
