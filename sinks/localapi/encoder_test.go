package localapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// parts keeps the longest that was written at once.
type parts struct {
	*httptest.ResponseRecorder
	longest int
}

func (p *parts) Write(b []byte) (int, error) {
	p.longest = max(p.longest, len(b))
	return p.ResponseRecorder.Write(b)
}

// TestListsAreWrittenInParts asks for all that there is: no answer is in memory
// as a whole, and each is the JSON that it was.
func TestListsAreWrittenInParts(t *testing.T) {
	const n, alerts = 3000, 200
	s := newServer(t, nil, nil)
	_, err := s.store.Import("agent", lapi.Alert{}, func(add func(*decisions.Decision) error) error {
		for i := range n {
			d := decisions.Decision{Origin: "o", Type: "ban", Scope: "Ip", Value: fmt.Sprintf("10.0.%d.%d", i>>8, i&255), Scenario: "<a>", Until: begin.Add(time.Hour)}
			if err := add(&d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range alerts {
		s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON(strings.Repeat("long ", 100), fmt.Sprintf("192.0.2.%d", i))+"]")
	}
	for _, ask := range []struct {
		name, path string
		handler    http.Handler
		want       int
	}{
		{"a bouncer's decisions", "/v1/decisions", s.Handler(), n + alerts},
		{"a person's decisions", "/decisions", s.Admin(), n + alerts},
		{"alerts", "/alerts", s.Admin(), alerts + 1},
		{"some alerts", "/alerts?limit=150", s.Admin(), 150},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, ask.path, nil)
		r.Header.Set("X-Api-Key", s.key)
		w := &parts{ResponseRecorder: httptest.NewRecorder()}
		ask.handler.ServeHTTP(w, r)
		var list []struct{ ID int64 }
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != ask.want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d of %d, %v, %v", ask.name, len(list), ask.want, err, w.Header())
		}
		seen := make(map[int64]bool)
		for _, one := range list {
			seen[one.ID] = true
		}
		if len(seen) != len(list) {
			t.Errorf("%s: %d are listed %d times", ask.name, len(seen), len(list))
		}
		if w.longest > w.Body.Len()*9/10 { // an alert with many decisions is one part
			t.Errorf("%s: %d of %d bytes are written at once", ask.name, w.longest, w.Body.Len())
		}
	}
}

// TestAListThatBreaksOff is no answer: before its first part there is an error
// instead of it, and later the connection is cut, compressed or not.
func TestAListThatBreaksOff(t *testing.T) {
	s := newServer(t, nil, nil)
	broken := func(items int) http.Handler {
		return s.recovered(compressed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			out := newEncoder(w, begin)
			out.begin("[")
			for range items {
				if err := out.item(strings.Repeat("long ", 10_000)); err != nil || !out.part() {
					t.Error("it is not written:", err)
				}
			}
			out.close(s.Sink, errors.New("the disk is gone"))
		})))
	}
	for _, encoding := range []string{"identity", "gzip"} {
		for _, items := range []int{0, 1, 20} {
			server := httptest.NewServer(broken(items))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", encoding)
			res, err := server.Client().Do(r)
			if items == 20 {
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err == nil {
					t.Errorf("%s: %d items pass for the whole", encoding, items)
				}
				server.Close()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			server.Close()
			if err != nil || res.StatusCode != http.StatusInternalServerError || !strings.Contains(string(text), "message") {
				t.Errorf("%s: after %d items it is answered %d %s, %v", encoding, items, res.StatusCode, text, err)
			}
		}
	}
}

// TestWhatIsLeftIsToldInWholeSeconds asks between two seconds: bouncers are told no part of one, and never that
// what is in force lasts no second.
func TestWhatIsLeftIsToldInWholeSeconds(t *testing.T) {
	s := newServer(t, nil, nil)
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.9", decisionJSON("ban", "192.0.2.1", "4h"), decisionJSON("ban", "192.0.2.2", "1s"))+"]")
	s.now = s.now.Add(600 * time.Millisecond)
	for _, path := range []string{"/v1/decisions", "/v1/decisions/stream?startup=true"} {
		s.want(200, bouncer, "GET", path, "", `"duration":"4h0m0s"`, `"duration":"1s"`)
	}
	s.now = s.now.Add(3*time.Second + 300*time.Millisecond)
	if _, err := s.store.Expire(); err != nil {
		t.Fatal(err)
	}
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `{"deleted":[{`, `"value":"192.0.2.2"`, `"duration":"-2s"`)
	for d, want := range map[time.Duration]time.Duration{0: 0, 1: time.Second, time.Second: time.Second, -1: 0, -1500 * time.Millisecond: -time.Second} {
		if got := left(d); got != want {
			t.Errorf("of %v there is %v left, want %v", d, got, want)
		}
	}
}
