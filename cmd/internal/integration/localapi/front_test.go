//go:build integration

package localapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// front stands between a bouncer and sluice, and notes when the bouncer asked
// and was answered. What a bouncer had to be told follows from that, and not
// from how long it takes on a busy machine.
type front struct {
	url string

	mu    sync.Mutex
	asked []asking
}

// asking is a question of the bouncer's that was answered well, and whole.
type asking struct{ from, to time.Time }

func newFront(t *testing.T, a *api) *front {
	t.Helper()
	target, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true} // sluice is killed between two questions
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("it is answered %s", res.Status)
		}
		return nil
	}
	// Without sluice there is no answer at all, as if nothing were in between.
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	f := &front{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := time.Now()
		proxy.ServeHTTP(w, r) // which panics when the answer breaks off
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked = append(f.asked, asking{from, time.Now()})
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// askedWithin tells whether a question was asked and answered between two times.
func (f *front) askedWithin(from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.asked, func(a asking) bool { return a.from.After(from) && a.to.Before(to) })
}

// through waits until the bouncer has acted on all that it was told by now: it
// reads an answer while it acts on the one before, and so is through with that
// when it asks for the one after.
func (f *front) through(t *testing.T) {
	t.Helper()
	now := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "the bouncer to ask thrice", func() (bool, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		n := 0
		for _, a := range f.asked {
			if a.from.After(now) {
				n++
			}
		}
		return n >= 3, nil
	}); err != nil {
		t.Fatal(err)
	}
}
