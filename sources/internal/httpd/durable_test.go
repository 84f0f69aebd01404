package httpd

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/sourcetest"
)

func journaled(dir string) func(*setup) {
	return func(s *setup) { s.Intake, s.Dir = intake.Default(intake.Journal), dir }
}

func TestAnAnswerWaitsForTheCheckpoint(t *testing.T) {
	w := listening(t, func(s *setup) { s.Intake.Ack = intake.AckCheckpoint })
	answered := make(chan answer, 1)
	go func() {
		a, err := w.try("POST", "/lines", strings.NewReader("a\nb\n"))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	w.got(2)
	select {
	case a := <-answered:
		t.Fatalf("answered %+v before any checkpoint", a)
	case <-time.After(50 * time.Millisecond):
	}
	w.commit()
	if a := <-answered; a.status != 200 {
		t.Errorf("answered %+v", a)
	}
}

func TestTheLastCheckpointAnswersThoseThatWait(t *testing.T) {
	w := listening(t, func(s *setup) { s.Intake.Ack = intake.AckCheckpoint })
	answered := make(chan answer, 1)
	go func() {
		a, err := w.try("POST", "/lines", strings.NewReader("a\n"))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	w.got(1)
	w.end() // which stops, commits and closes
	if a := <-answered; a.status != 200 {
		t.Errorf("answered %+v", a)
	}
}

func TestThoseWithoutACheckpointAreToldSoAtTheEnd(t *testing.T) {
	w := listening(t, func(s *setup) { s.Intake.Ack = intake.AckCheckpoint })
	answered := make(chan answer, 1)
	go func() {
		a, err := w.try("POST", "/lines", strings.NewReader("a\n"))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	w.got(1)
	w.mu.Lock()
	clear(w.next) // no checkpoint comes
	w.mu.Unlock()
	w.end()
	if a := <-answered; a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %+v", a)
	}
}

func TestAStopDoesNotWaitForBodies(t *testing.T) {
	w := listening(t, nil)
	c := w.dial()
	fmt.Fprintf(c, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\na line\n")
	w.until("it is being read", func() bool { return w.source.budget.held.Load() > 0 })
	w.end()
	if said := closed(t, c); !strings.HasPrefix(said, "HTTP/1.1 503 ") {
		t.Errorf("answered %q", said)
	}
}

// TestNoTimeoutOfTheBodyEndsTheWaiting has answers come later than bodies may take.
func TestNoTimeoutOfTheBodyEndsTheWaiting(t *testing.T) {
	synctest.Test(t, testNoTimeoutOfTheBodyEndsTheWaiting)
}

func testNoTimeoutOfTheBodyEndsTheWaiting(t *testing.T) {
	w := piped(t, func(s *setup) {
		s.Intake.Ack, s.HeaderTimeout, s.BodyTimeout = intake.AckCheckpoint, time.Second, 2*time.Second
	})
	w.source.writeTime = time.Second
	for i := range 2 { // the second over the same connection, after the first answer's own time
		answered := make(chan answer, 1)
		go func() {
			a, err := w.try("POST", "/lines", strings.NewReader("a\n"), "Expect", "100-continue")
			if err != nil {
				t.Error(err)
			}
			answered <- a
		}()
		w.got(i + 1)
		select {
		case a := <-answered:
			t.Fatalf("answered %+v before any checkpoint", a)
		case <-time.After(4 * time.Second):
		}
		w.commit()
		if a := <-answered; a.status != 200 {
			t.Errorf("answered %+v", a)
		}
		time.Sleep(1500 * time.Millisecond)
		if a := w.send("GET", "/health", nil); a.status != 200 {
			t.Errorf("health is answered with %+v", a)
		}
	}
	if n := w.source.Stats().Connections; n != 1 {
		t.Errorf("%d connections were used", n)
	}
}

func TestAFullPipelineTellsClientsToComeLater(t *testing.T) {
	for _, mode := range []string{"direct", "journal"} {
		t.Run(mode, func(t *testing.T) {
			clock := sourcetest.NewClock() // by which it is over only when the test says so
			w := listening(t, func(s *setup) {
				s.Clock = clock
				s.gated, s.Wait, s.RetryAfter = true, 500*time.Millisecond, 3*time.Second
				if mode == "journal" {
					journaled(t.TempDir())(s)
					s.Intake.Journal.SegmentBytes, s.Intake.Journal.MaxBytes = 64<<10, 128<<10
					// What a slow disk has not taken in time is answered with 503, and comes.
					s.Wait = 20 * time.Second
				}
			})
			w.source.calm = 1000 * time.Hour
			body := strings.Repeat(strings.Repeat("x", 999)+"\n", 50)
			var taken, refused int
			var enough bool
			var mu sync.Mutex
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for {
						a, err := w.try("POST", "/lines", strings.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						switch a.status {
						case 200:
							taken += 50
						case 429:
							if refused++; a.header.Get("Retry-After") != "3" {
								t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
							}
						default:
							t.Errorf("answered %d %s", a.status, a.text)
						}
						stop := enough
						mu.Unlock()
						if stop || a.status/100 != 2 && a.status != 429 {
							return
						}
					}
				})
			}
			w.until("clients are told to come later, and so is the load balancer", func() bool {
				clock.Move(time.Second) // a pipeline that takes nothing is full after a while
				busy := w.send("GET", "/health", nil).status == 503
				mu.Lock()
				defer mu.Unlock()
				enough = busy && refused >= 20
				return enough
			})
			w.open()
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				all.Wait()
			}()
			w.until("those that wait for room are answered", func() bool {
				w.commit() // which makes room in a journal
				select {
				case <-answered:
					return true
				default:
					return false
				}
			})
			// What was answered with 2xx is there, and nothing else.
			if got := len(w.got(taken)); got != taken {
				t.Errorf("%d lines came, and %d were acknowledged", got, taken)
			}
			w.until("it is over", func() bool {
				w.commit()
				clock.Move(1001 * time.Hour)
				w.send("POST", "/lines", strings.NewReader("it still serves\n"))
				return strings.Contains(w.log.String(), "requests are taken again")
			})
			if n := strings.Count(w.log.String(), "told to come later"); n != 1 {
				t.Errorf("it is told %d times", n)
			}
			if n := strings.Count(w.log.String(), "requests are taken again"); n != 1 {
				t.Errorf("that it is over is told %d times", n)
			}
		})
	}
}

// keyed posts with a key.
func (w *world) keyed(key, body string, status int, again bool) {
	w.t.Helper()
	a := w.post("/lines", body, status, "Idempotency-Key", key)
	if got := a.header.Get("Idempotent-Replayed") != ""; got != again {
		w.t.Errorf("key %s: as a repeat: %v", key, got)
	}
}

func TestARequestWithAKeyCountsOnce(t *testing.T) {
	w := listening(t, nil)
	w.keyed("1", "a\n", 200, false)
	w.keyed("1", "a\n", 200, true)
	w.keyed("2", "a\n", 200, false)
	w.keyed("1", "b\n", 422, false)
	w.post("/lines", "c\n", 200)
	w.post("/lines", "c\n", 200)
	if a := w.post("/ndjson", "1\n", 200, "Idempotency-Key", "1"); a.header.Get("Idempotent-Replayed") != "" {
		t.Error("the keys of one path are those of another")
	}
	w.drops(dropRepeat, 1)
	w.drops(dropMismatch, 1)
	if got := w.got(5); fmt.Sprint(got) != "[a a c c 1]" {
		t.Errorf("got %q", got)
	}
}

func TestKeysOutliveACrashWithTheRecords(t *testing.T) {
	dir := t.TempDir()
	w := listening(t, journaled(dir))
	for i := range 20 {
		w.keyed(fmt.Sprint(i), fmt.Sprintf("line %d\n", i), 200, false)
	}
	w.got(20)
	w.end()
	// The state knows of the first 7 alone.
	w = listening(t, func(s *setup) {
		journaled(dir)(s)
		s.From = sources.Positions{pipeline.Partition{Source: "in", Topic: "/lines"}: 7}
		s.Repeats.Remember = 15
	})
	for i := range 20 {
		w.keyed(fmt.Sprint(i), fmt.Sprintf("line %d\n", i), 200, true)
	}
	w.keyed("20", "line 20\n", 200, false)
	w.keyed("1", "line 1\n", 200, true) // one goes for each that comes
	w.keyed("0", "line 0\n", 200, false)
	got := w.got(15)
	if len(got) != 15 || got[0] != "line 7" || got[13] != "line 20" {
		t.Errorf("got %q", got)
	}
}

func TestBodiesAreKeysWhereThatIsAsked(t *testing.T) {
	w := listening(t, func(s *setup) { s.Repeats.Body = true })
	w.post("/lines", "a\n", 200)
	w.post("/lines", "a\n", 200)
	w.post("/lines", "b\n", 200)
	w.post("/lines", "a\n", 200, "Idempotency-Key", "x")
	if got := w.got(3); fmt.Sprint(got) != "[a b a]" {
		t.Errorf("got %q", got)
	}
}

func TestARepeatWaitsForTheFirst(t *testing.T) {
	w := listening(t, func(s *setup) { s.gated = true })
	var all sync.WaitGroup
	replayed := 0
	var mu sync.Mutex
	for range 5 {
		all.Go(func() {
			a, err := w.try("POST", "/lines", strings.NewReader("a\n"), "Idempotency-Key", "k")
			if err != nil || a.status != 200 {
				t.Errorf("answered %+v, %v", a, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if a.header.Get("Idempotent-Replayed") != "" {
				replayed++
			}
		})
	}
	w.until("all were read", func() bool { return w.source.limits.connections() == 5 })
	w.open()
	all.Wait()
	if got := w.got(1); len(got) != 1 || replayed != 4 {
		t.Errorf("got %q, %d as repeats", got, replayed)
	}
}

func TestAClientThatGoesAwayAndComesAgain(t *testing.T) {
	w := listening(t, func(s *setup) { s.Intake.Ack = intake.AckCheckpoint })
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+w.address()+"/lines", strings.NewReader("a\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k")
	gone := make(chan error, 1)
	go func() {
		resp, err := w.client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	w.got(1)
	cancel()
	if err := <-gone; err == nil {
		t.Fatal("it was answered")
	}
	answered := make(chan answer, 1)
	go func() {
		a, err := w.try("POST", "/lines", strings.NewReader("a\n"), "Idempotency-Key", "k")
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	select {
	case a := <-answered:
		t.Fatalf("answered %+v before the first is safe", a)
	case <-time.After(50 * time.Millisecond):
	}
	w.commit()
	if a := <-answered; a.status != 200 || a.header.Get("Idempotent-Replayed") == "" {
		t.Errorf("answered %+v", a)
	}
	if got := w.got(1); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// TestARequestOfSeveralEntriesGoesOnWhereItWasCut has a request of several sets of labels, of which
// some were safe when the process died: a repeat adds the others.
func TestARequestOfSeveralEntriesGoesOnWhereItWasCut(t *testing.T) {
	groups := func(r *Request) error {
		text, err := r.Whole()
		if err != nil {
			return err
		}
		for i, part := range strings.Split(string(text), ",") {
			g, err := r.Batch.Group()
			if err != nil {
				return err
			}
			if err := g.SetLabels(map[string]string{"n": fmt.Sprint(i)}); err != nil {
				return err
			}
			if err := g.Add([]byte(part), r.Batch.Now(), nil); err != nil {
				return err
			}
		}
		return nil
	}
	dir := t.TempDir()
	change := func(s *setup) {
		journaled(dir)(s)
		s.Endpoints = []Endpoint{{Pattern: "/lines", Read: groups}}
	}
	w := listening(t, change)
	w.keyed("k", "a,b,c,d", 200, false)
	w.end()
	// A journal that ends behind the second entry is what a crash between them leaves.
	dir = t.TempDir()
	w = listening(t, change)
	var digest string
	for _, k := range w.source.repeats.known {
		t.Errorf("a new journal knows %+v", k)
	}
	w.keyed("k", "a,b,c,d", 200, false)
	for _, k := range w.source.repeats.known {
		digest = k.digest
	}
	id := keyOf("/lines", "", "key k")
	w.end()
	dir = t.TempDir()
	w = listening(t, change)
	half := &known{id: id, digest: digest, seq: 1}
	for i, text := range []string{"a", "b"} {
		e := intake.Entry{Topic: "/lines", Labels: map[string]string{"n": fmt.Sprint(i)}, Marks: half.marks(i, 4),
			Records: []pipeline.Record{{Value: []byte(text), Time: time.Unix(1e9, 0)}}}
		if err := w.source.in.PutWait(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	w.end()
	w = listening(t, change)
	w.keyed("k", "a,b,c,d", 200, false)
	w.keyed("k", "a,b,c,d", 200, true)
	if got := w.got(4); fmt.Sprint(got) != "[a b c d]" {
		t.Errorf("got %q", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, l := range w.labels {
		if l["n"] != fmt.Sprint(i) {
			t.Errorf("%q has the labels %v", w.lines[i], l)
		}
	}
}

func TestRememberedKeysAreBounded(t *testing.T) {
	w := listening(t, func(s *setup) { s.Repeats.Remember = 10 })
	for i := range 100 {
		w.keyed(fmt.Sprint(i), "x\n", 200, false)
	}
	if n, m := len(w.source.repeats.known), len(w.source.in.Marks()); n != 10 || m != 10 {
		t.Errorf("%d keys and %d marks are kept", n, m)
	}
	w.keyed("99", "x\n", 200, true)
	w.keyed("0", "x\n", 200, false)
}
