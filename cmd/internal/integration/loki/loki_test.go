//go:build integration

package loki

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

type entry struct {
	at   int64
	host int
	text string
}

// server answers query_range as Loki does, and can go away.
type server struct {
	address string
	http    *http.Server

	mu      sync.Mutex
	entries []entry // sorted by time
}

func newServer(t *testing.T) *server {
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", rig.Port(t))}
	s.start(t)
	t.Cleanup(func() { s.http.Close() })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.http = &http.Server{Handler: s}
	go func() { _ = s.http.Serve(l) }() // ends with Close
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ready" {
		return
	}
	q := r.URL.Query()
	from, err1 := strconv.ParseInt(q.Get("start"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("end"), 10, 64)
	limit, err3 := strconv.Atoi(q.Get("limit"))
	if r.URL.Path != "/loki/api/v1/query_range" || q.Get("direction") != "forward" || err1 != nil || err2 != nil || err3 != nil || limit > 5000 {
		http.Error(w, "what is asked for: "+r.URL.String(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	streams := make(map[int][]string)
	for _, e := range s.entries {
		if e.at >= from && e.at < to && limit > 0 {
			limit--
			text, _ := json.Marshal(e.text)
			streams[e.host] = append(streams[e.host], fmt.Sprintf(`["%d",%s]`, e.at, text))
		}
	}
	var result []string
	for host, values := range streams {
		result = append(result, fmt.Sprintf(`{"stream":{"host":"h%d"},"values":[%s]}`, host, strings.Join(values, ",")))
	}
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"streams","result":[%s]}}`, strings.Join(result, ","))
}

// produce adds n lines, by fives with one time, which is up to two seconds ago.
func (s *server) produce(n int, random *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Now().UnixNano()
	for i := range n {
		if i%5 == 0 {
			at = time.Now().UnixNano() - random.Int64N(int64(2*time.Second))
		}
		s.entries = append(s.entries, entry{at, random.IntN(3), rig.Line(len(s.entries))})
	}
	slices.SortStableFunc(s.entries, func(a, b entry) int { return int(a.at - b.at) })
}

func (s *server) source() map[string]any {
	return map[string]any{
		"type": "loki", "url": "http://" + s.address, "query": `{job="probe"}`, "since": "1h", "limit": 130,
		"poll_interval": "200ms", "overlap": "4s", "backoff_min": "50ms", "backoff_max": "300ms",
	}
}

// TestKilledWhileLinesCome kills sluice again and again, while lines turn up late and with equal times.
func TestKilledWhileLinesCome(t *testing.T) {
	s := newServer(t)
	in := rig.New(t, "one", rig.Probing(s.source()))
	random := rand.New(rand.NewPCG(rig.Seed(t), 1))
	const rounds, each = 10, 60
	kills := in.KillUnder(t, rig.Load{
		Kills: 6, Rounds: rounds, Pause: 50 * time.Millisecond,
		Produce: func(context.Context) error { s.produce(each, random); return nil },
	})
	total := kills * rounds * each
	in.Drained(t, total)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, total)
	t.Logf("%d lines, %d kills", total, kills)
}

// TestTheServerGoesAway closes the server for a while; lines come meanwhile.
func TestTheServerGoesAway(t *testing.T) {
	s := newServer(t)
	in := rig.New(t, "one", rig.Probing(s.source()))
	random := rand.New(rand.NewPCG(1, 2))
	s.produce(300, random)
	in.Start(t)
	in.Drained(t, 300)
	s.http.Close()
	s.produce(100, random)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Pause(ctx, rig.Outage()); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.produce(100, random)
	in.Drained(t, 500)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, 500)
	if down, up := in.Said("reading is interrupted"), in.Said("reading goes on"); down != 1 || up != 1 {
		t.Errorf("it said %d times that reading is interrupted and %d times that it goes on", down, up)
	}
}
