package kafka

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"sluice/pipeline/decisions"
)

// trouble is what goes wrong between a publisher and the brokers: requests
// that are refused, and requests to write that are given up and are not lost.
type trouble struct {
	mu    sync.Mutex
	rng   *rand.Rand
	rate  int // of a hundred requests
	late  []*kmsg.ProduceRequest
	kill  func() // called at some writes
	times int
	came  int // of those that were late
}

func (tr *trouble) produce(req kmsg.Request) (kmsg.Response, error, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.rng.IntN(100) >= tr.rate {
		return nil, nil, false
	}
	tr.times++
	asked := req.(*kmsg.ProduceRequest)
	switch tr.rng.IntN(4) {
	case 0: // it is lost
	case 1: // the process dies, and the brokers have it
		tr.kill()
		return nil, nil, false
	default: // it comes later
		tr.late = append(tr.late, copied(asked))
	}
	res := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range asked.Topics {
		rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.RequestTimedOut.Code})
		}
		res.Topics = append(res.Topics, rt)
	}
	return res, nil, true
}

func copied(req *kmsg.ProduceRequest) *kmsg.ProduceRequest {
	out := kmsg.NewPtrProduceRequest()
	out.Version, out.Acks, out.TimeoutMillis = req.Version, req.Acks, lateTimeout
	for _, topic := range req.Topics {
		ot := kmsg.NewProduceRequestTopic()
		ot.Topic = topic.Topic
		for _, p := range topic.Partitions {
			op := kmsg.NewProduceRequestTopicPartition()
			op.Partition, op.Records = p.Partition, append([]byte(nil), p.Records...)
			ot.Partitions = append(ot.Partitions, op)
		}
		out.Topics = append(out.Topics, ot)
	}
	return out
}

func (tr *trouble) fetch(req kmsg.Request) (kmsg.Response, error, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.rng.IntN(400) >= tr.rate {
		return nil, nil, false
	}
	tr.times++
	return nil, fmt.Errorf("the connection is cut"), true
}

// deliver writes those that come late, at most n of them, in any order.
func (tr *trouble) deliver(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	for range n {
		tr.mu.Lock()
		if len(tr.late) == 0 {
			tr.mu.Unlock()
			return
		}
		i := tr.rng.IntN(len(tr.late))
		req := tr.late[i]
		tr.late = append(tr.late[:i], tr.late[i+1:]...)
		tr.mu.Unlock()
		res, err := req.RequestWith(t.Context(), client)
		if err == nil {
			err = kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
		}
		if err != nil {
			t.Fatal(err)
		}
		tr.came++
	}
}

// met is how many requests went wrong.
func (tr *trouble) met() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.times
}

func (tr *trouble) setRate(rate int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.rate = rate
}

func (tr *trouble) setKill(kill func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.kill = kill
}

// TestAConsumerHoldsWhatIsInForceWheneverItIsQuiet adds, removes and lets
// end, while brokers fail, writes come late and out of order, and the process
// dies at any place. Whenever all of that rests for a while, a consumer that
// has read the topic from its start holds exactly what is in force.
//
// How much of that one seed meets depends on how busy the machine is: a
// publisher that gets fewer turns makes fewer requests. All of them together
// must have met enough for the test to mean something.
func TestAConsumerHoldsWhatIsInForceWheneverItIsQuiet(t *testing.T) {
	var came, deaths atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				w := newModel(t, seed)
				for quiet := range 4 {
					for range 200 {
						w.step()
					}
					w.rest(fmt.Sprint("quiet time ", quiet))
				}
				t.Logf("%d requests went wrong, %d came late, the process died %d times, %d records", w.trouble.met(), w.trouble.came, w.deaths, w.reader.n)
				came.Add(int64(w.trouble.came))
				deaths.Add(int64(w.deaths))
			})
		}
	})
	if !t.Failed() && (came.Load() < 3 || deaths.Load() < 3) {
		t.Errorf("only %d requests came late, and the process died %d times", came.Load(), deaths.Load())
	}
}

// model is a world in which one publisher runs at a time.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	cluster *kfake.Cluster
	feed    *feed
	trouble *trouble
	raw     *kgo.Client
	reader  *reader

	alive  *mortal
	runs   *runner
	deaths int
}

func newModel(t *testing.T, seed uint64) *model {
	w := &model{t: t, rng: rand.New(rand.NewPCG(seed, 7)), cluster: compacted(t, 3), feed: newFeed("w1")}
	w.trouble = &trouble{rng: rand.New(rand.NewPCG(seed, 8)), rate: 20, kill: func() {}}
	w.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if req.(*kmsg.ProduceRequest).TimeoutMillis == lateTimeout {
			return nil, nil, false
		}
		return w.trouble.produce(req)
	})
	w.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		return w.trouble.fetch(req)
	})
	var err error
	if w.raw, err = kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.MaxVersions(kversion.V2_8_0())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.raw.Close)
	w.reader = newReader(t, w.cluster)
	w.start()
	return w
}

// lateTimeout tells requests that come late from those of a publisher.
const lateTimeout = 12_345

func (w *model) start() {
	m := &mortal{feed: w.feed, left: -1}
	if w.rng.IntN(2) == 0 {
		m.left = 1 + w.rng.IntN(30)
	}
	w.alive = m
	w.trouble.setKill(m.kill)
	w.runs = publish(w.t, w.cluster, m, w.feed.clock, nil)
}

// revive starts the publisher again where it has died.
func (w *model) revive() {
	select {
	case err := <-w.runs.done:
		if w.alive.killed() {
			w.deaths++
		} else {
			w.t.Fatalf("it ended by itself: %v", err)
		}
		w.start()
	default:
	}
}

func (w *model) step() {
	switch w.rng.IntN(14) {
	case 0, 1, 2, 3:
		value := fmt.Sprintf("192.0.2.%d", w.rng.IntN(12))
		if w.rng.IntN(4) == 0 {
			value = fmt.Sprintf("10.%d.0.0/16", w.rng.IntN(4))
		}
		w.feed.add(w.t, value, pickOne(w.rng, "ban", "captcha"), pickOne(w.rng, "a/ssh", "b/http"), time.Duration(1+w.rng.IntN(20))*time.Second)
	case 4:
		w.feed.remove(decisions.Filter{Scope: "Ip", Value: fmt.Sprintf("192.0.2.%d", w.rng.IntN(12))})
	case 5:
		w.feed.remove(decisions.Filter{Scenario: pickOne(w.rng, "a/ssh", "b/http"), Type: "captcha"})
	case 6, 7:
		w.feed.pass(time.Duration(w.rng.IntN(8_000)) * time.Millisecond)
	case 8:
		if w.rng.IntN(3) == 0 {
			w.alive.kill()
			w.feed.ring()
		}
	case 9:
		if w.rng.IntN(4) == 0 { // removals are not remembered for ever
			w.feed.index.Forget(w.feed.index.Seq() - int64(w.rng.IntN(5)))
		}
	case 10:
		w.trouble.deliver(w.t, w.raw, 1)
	default:
		select {
		case <-time.After(time.Duration(w.rng.IntN(20)) * time.Millisecond): // others get a turn
		case <-w.t.Context().Done():
		}
	}
	w.revive()
}

// rest lets nothing go wrong, has all come that is late, and compares.
func (w *model) rest(what string) {
	w.t.Helper()
	w.trouble.setRate(0)
	w.alive.spare()
	w.trouble.deliver(w.t, w.raw, 3)
	w.feed.ring()
	inForce := func() map[string]string { w.revive(); w.alive.spare(); return w.feed.inForce() }
	w.reader.until(w.t, what, inForce)
	had, before := w.reader.n, w.trouble.came
	w.trouble.deliver(w.t, w.raw, 1000) // when the publisher has nothing to do any more
	w.reader.records(w.t, had+w.trouble.came-before)
	w.reader.until(w.t, what+", after late records", inForce)
	whole := newReader(w.t, w.cluster) // from the start, as one who comes late
	whole.until(w.t, what+", read from the start", w.feed.inForce)
	w.trouble.setRate(20)
}

func pickOne[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }
