package spread

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server acknowledges, refuses and fails at random. It knows what it acknowledged.
type server struct {
	mu      sync.Mutex
	rng     *rand.Rand
	failing float64
	got     map[string]int
	order   map[string][]int // by source
	largest int
}

func (s *server) send(_ context.Context, alerts []pipeline.Alert) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.largest = max(s.largest, len(alerts))
	if s.rng.Float64() < s.failing {
		return errors.New("500")
	}
	settled := len(alerts)
	if s.rng.Float64() < s.failing {
		settled = s.rng.IntN(len(alerts))
	}
	var rejected *sinks.RejectedError
	for i, a := range alerts[:settled] {
		if a.Capacity == 1 {
			if rejected == nil {
				rejected = &sinks.RejectedError{Reason: errors.New("400")}
			}
			rejected.Alerts = append(rejected.Alerts, i)
			continue
		}
		s.got[a.UUID]++
		s.order[a.Source.Value] = append(s.order[a.Source.Value], int(a.EventsCount))
	}
	switch {
	case settled < len(alerts):
		return &sinks.PartialError{Settled: settled, Rejected: rejected, Err: errors.New("503")}
	case rejected != nil:
		return rejected
	}
	return nil
}

// TestEveryAlertIsSettledOnce gives batches as the outbox does, to a server
// with every fault: each alert is acknowledged once or refused once, and those
// of a source in order.
func TestEveryAlertIsSettledOnce(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		srv := &server{rng: rng, failing: rng.Float64() * 0.8, got: make(map[string]int), order: make(map[string][]int)}
		s := &Spread{Parallel: 1 + rng.IntN(4), Batch: 1 + rng.IntN(4)}
		alerts := make([]pipeline.Alert, 40)
		refuse := 0
		for i := range alerts {
			alerts[i] = pipeline.Alert{
				UUID: fmt.Sprint(i), EventsCount: int32(i), Source: &pipeline.Source{Scope: "Ip", Value: fmt.Sprint(rng.IntN(5))},
			}
			if rng.IntN(10) == 0 {
				alerts[i].Capacity = 1
				refuse++
			}
		}
		refused := make(map[string]int)
		for rest := alerts; len(rest) > 0; {
			batch := rest[:min(len(rest), 1+rng.IntN(20))]
			for len(batch) > 0 {
				part := batch
				if rng.IntN(3) == 0 { // a probe, or a batch that is narrowed down
					part = batch[:1+rng.IntN(len(batch))]
				}
				err := s.Deliver(t.Context(), part, srv.send)
				settled, rejected := len(part), (*sinks.RejectedError)(nil)
				var partial *sinks.PartialError
				if errors.As(err, &partial) {
					settled, rejected = partial.Settled, partial.Rejected
					if n := partial.Failed; n < 1 || n > len(part)-settled || s.Batch == 1 && n != 1 {
						t.Errorf("seed %d: %d failed together, of the %d behind the settled", seed, n, len(part)-settled)
					}
				} else if err != nil && !errors.As(err, &rejected) {
					t.Fatal(err)
				}
				if rejected != nil {
					for _, i := range rejected.Alerts {
						refused[batch[i].UUID]++
					}
				}
				batch, rest = batch[settled:], rest[settled:]
			}
		}
		for _, a := range alerts {
			if n := srv.got[a.UUID]; n != int(1-a.Capacity) || refused[a.UUID] != int(a.Capacity) {
				t.Errorf("seed %d: alert %s was acknowledged %d times and refused %d times, capacity %d", seed, a.UUID, n, refused[a.UUID], a.Capacity)
			}
		}
		for source, order := range srv.order {
			for i := 1; i < len(order); i++ {
				if order[i] < order[i-1] {
					t.Errorf("seed %d: source %s has the order %v", seed, source, order)
				}
			}
		}
		if len(s.memory.settled) > 0 {
			t.Errorf("seed %d: at the end it still remembers %v", seed, s.memory.settled)
		}
		if srv.largest > s.Batch || len(refused) != refuse {
			t.Errorf("seed %d: a request of %d alerts, want at most %d; %d refused, want %d", seed, srv.largest, s.Batch, len(refused), refuse)
		}
	}
}
