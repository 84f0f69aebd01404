package localapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/sinks"
	"sluice/sinks/localapi/blocklist"
)

// TestListsAreReadWhenTheyAreDue runs two lists with a clock that a test moves.
func TestListsAreReadWhenTheyAreDue(t *testing.T) {
	p := newPublisher(t)
	p.says("192.0.2.1")
	c := Default()
	c.Dir, c.Blocklists = t.TempDir(), []blocklist.Config{{Name: "bad", URL: p.URL}, {Name: "broken", File: filepath.Join(c.Dir, "none")}}
	var mu sync.Mutex
	now := begin
	waits := make(chan time.Duration)
	fire := make(chan time.Time)
	env := sinks.Env{
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		After: func(d time.Duration) <-chan time.Time {
			waits <- d
			return fire
		},
	}
	s, err := New("api", c, env)
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.runLists(ctx) }()
	first := []time.Duration{<-waits, <-waits}
	slices.Sort(first)
	if first[0] < 30*time.Second || first[0] > time.Minute || first[1] != time.Hour {
		t.Errorf("the lists wait %v", first)
	}
	h := httptest.NewServer(s.Admin())
	defer h.Close()
	show := func() []Blocklist {
		res, err := h.Client().Get(h.URL + "/blocklists")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out []Blocklist
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil || len(out) != 2 {
			t.Fatal(out, err)
		}
		return out
	}
	if got := show(); got[0].InForce != 1 || got[0].From != p.URL || got[0].Next != begin.Add(time.Hour) || got[1].LastError == "" {
		t.Errorf("the lists are %+v", got)
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	p.says("192.0.2.1", "192.0.2.2")
	fire <- now
	fire <- now
	<-waits
	<-waits
	if got := show(); got[0].InForce != 2 || got[0].LastChange != now {
		t.Errorf("after an hour the lists are %+v", got)
	}
	p.says("192.0.2.2")
	res, err := h.Client().Post(h.URL+"/blocklists/bad/refresh", "", nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if d := <-waits; d != time.Hour { // it looks anew when it is due
		t.Errorf("it waits %v", d)
	}
	for path, want := range map[string]int{"/blocklists/none/refresh": http.StatusNotFound, "/blocklists/broken/refresh": http.StatusBadGateway} {
		res, err := h.Client().Post(h.URL+path, "", nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %v, %v", path, res.StatusCode, err)
		}
		res.Body.Close()
	}
	<-waits
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.Client().CloseIdleConnections()
}

func TestMistakesInListsAreNamed(t *testing.T) {
	for _, c := range []struct {
		lists []blocklist.Config
		says  string
	}{
		{[]blocklist.Config{{URL: "http://x/"}}, "no name of a list"},
		{[]blocklist.Config{{Name: "a b", URL: "http://x/"}}, "no name of a list"},
		{[]blocklist.Config{{Name: "a"}}, "url or file"},
		{[]blocklist.Config{{Name: "a", URL: "http://x/", File: "x"}}, "url or file"},
		{[]blocklist.Config{{Name: "a", URL: "ftp://x/"}}, "http or https"},
		{[]blocklist.Config{{Name: "a", File: "x", Format: "xml"}}, "no format"},
		{[]blocklist.Config{{Name: "a", File: "x", Every: time.Second}}, "10s"},
		{[]blocklist.Config{{Name: "a", File: "x", Duration: time.Hour}}, "three times"},
		{[]blocklist.Config{{Name: "a", URL: "http://x/", Proxy: "x"}}, "no URL"},
		{[]blocklist.Config{{Name: "a", File: "x"}, {Name: "a", File: "y"}}, "two lists"},
	} {
		config := Default()
		config.Blocklists = c.lists
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.lists, err, c.says)
		}
	}
}
