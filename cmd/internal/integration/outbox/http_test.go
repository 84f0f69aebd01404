//go:build integration

package outbox

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// server is an HTTP endpoint that outlives sluice. It fails a share of the
// requests, half of those after it has recorded them: answers that are lost.
type server struct {
	*place
	*httptest.Server
	failing float64

	mu       sync.Mutex
	rng      *rand.Rand
	requests int
}

func newServer(t *testing.T, failing float64) *server {
	s := &server{place: newPlace(), failing: failing, rng: rand.New(rand.NewPCG(rig.Seed(t), 12))}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Server.Close)
	return s
}

// fate decides about a request: how long it takes, and whether it is
// recorded and acknowledged.
func (s *server) fate() (takes time.Duration, records, acknowledges bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	takes = time.Duration(s.rng.Int64N(int64(4 * time.Millisecond)))
	acknowledges = s.rng.Float64() >= s.failing
	return takes, acknowledges || s.rng.IntN(2) == 0, acknowledges
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	deliveries, err := read(r)
	if err != nil { // also of a request that a kill has cut off
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	takes, records, acknowledges := s.fate()
	if records {
		for i := range deliveries {
			deliveries[i].lost = !acknowledges
		}
		s.add(deliveries...)
	}
	if rig.Pause(r.Context(), takes) != nil {
		return // sluice is gone
	}
	if !acknowledges {
		http.Error(w, "try again", http.StatusInternalServerError)
	}
}

func read(r *http.Request) (out []delivery, err error) {
	run, err := strconv.Atoi(r.Header.Get("Test-Run"))
	if err != nil {
		return nil, err
	}
	var alerts []arrived
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		return nil, err
	}
	for i := range alerts {
		line, err := alerts[i].line()
		if err != nil {
			return nil, err
		}
		out = append(out, delivery{id: alerts[i].UUID, line: line, run: run})
	}
	return out, nil
}

// sink is the webhook of a run.
func (s *server) sink(run int) map[string]any {
	return map[string]any{
		"type": "webhook", "url": s.URL, "batch": 10, "parallel": 4, "headers": map[string]string{"Test-Run": fmt.Sprint(run)},
		"retry": map[string]any{
			"initial_backoff": "5ms", "max_backoff": "100ms", "budget": map[string]any{"min_per_second": 200},
			"breaker": map[string]any{"failures": 4, "cool_down": "50ms"},
		},
	}
}

// TestKilledWhileItDeliversToHTTP kills sluice between a server's
// acknowledgement and its own.
func TestKilledWhileItDeliversToHTTP(t *testing.T) {
	s := newServer(t, 0)
	killed(t, s.place, 1500, s.sink)
	t.Logf("%d requests", s.requests)
}

// TestKilledWhileItDeliversToAServerThatFailsHalfOfTheTime does so with a
// server that answers 500 at random, having recorded the request or not.
func TestKilledWhileItDeliversToAServerThatFailsHalfOfTheTime(t *testing.T) {
	s := newServer(t, 0.5)
	killed(t, s.place, 600, s.sink)
	t.Logf("%d requests", s.requests)
}
