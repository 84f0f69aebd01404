//go:build integration

package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// watcher is a machine that pushes and deletes decisions over the API.
type watcher struct {
	url, token string
}

func newWatcher(t *testing.T, a *api) *watcher {
	t.Helper()
	a.sluice(t, "machines", "add", "watcher", "--password", "a secret")
	w := &watcher{url: a.url}
	var login struct{ Token string }
	w.ask(t, http.MethodPost, "/v1/watchers/login", map[string]any{"machine_id": "watcher", "password": "a secret"}, &login)
	w.token = login.Token
	return w
}

func (w *watcher) ask(t *testing.T, method, path string, body, to any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // the server is killed between two requests
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s is answered %d", method, path, res.StatusCode)
	}
	if err == nil && to != nil {
		err = json.Unmarshal(answer, to)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
}

func scopeOf(value string) string {
	if strings.Contains(value, "/") {
		return "Range"
	}
	return "Ip"
}

// ban adds a decision and returns when it ends.
func (w *watcher) ban(t *testing.T, value string, length time.Duration) time.Time {
	t.Helper()
	now := time.Now().UTC()
	at, scope := now.Format(time.RFC3339Nano), scopeOf(value)
	w.ask(t, http.MethodPost, "/v1/alerts", []any{map[string]any{
		"scenario": "test/random", "scenario_hash": "", "scenario_version": "", "message": "random", "events_count": 1, "start_at": at, "stop_at": at,
		"capacity": 0, "leakspeed": "0", "simulated": false, "events": []any{}, "source": map[string]any{"scope": scope, "value": value},
		"decisions": []any{map[string]any{"origin": "test", "type": "ban", "scope": scope, "value": value, "duration": length.String(), "scenario": "test/random"}},
	}}, nil)
	end := now.Add(length)
	if whole := end.Truncate(time.Second); whole.Before(end) {
		end = whole.Add(time.Second) // decisions end with a second
	}
	return end
}

func (w *watcher) pardon(t *testing.T, value string) {
	t.Helper()
	w.ask(t, http.MethodDelete, "/v1/decisions?"+strings.ToLower(scopeOf(value))+"="+value, nil, nil)
}

// life is what a test did about a value.
type life struct {
	value   string
	from    time.Time // not told before
	added   time.Time // in force from then at the latest
	gone    time.Time // when it was deleted or ends; zero for one that stays
	deleted time.Time // when the deletion was answered, or the end
	twice   bool      // there was more than one decision on it: only what is left in the end is known
}

// call is one call of the bouncer's program.
type call struct {
	what, value string
	at          time.Time
}

func (b *custom) calls(t *testing.T) (out []call) {
	t.Helper()
	for line := range strings.Lines(b.told(t)) {
		word := strings.Fields(line)
		if len(word) != 3 {
			continue // it is being written
		}
		at, err := strconv.ParseFloat(word[2], 64)
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		out = append(out, call{word[0], word[1], time.UnixMicro(int64(at * 1e6))})
	}
	return out
}

// randomRun changes decisions at random while a bouncer follows.
type randomRun struct {
	a     *api
	w     *watcher
	front *front
	rng   *rand.Rand
	lives []*life
	// sluice was away between downs and ups.
	downs, ups []time.Time
}

func (r *randomRun) change(t *testing.T, n int) {
	t.Helper()
	var live []*life
	for _, l := range r.lives {
		if l.gone.IsZero() {
			live = append(live, l)
		}
	}
	switch k := r.rng.IntN(10); {
	case k < 2 && len(live) > 3:
		l := live[r.rng.IntN(len(live))]
		l.gone = time.Now()
		r.w.pardon(t, l.value)
		l.deleted = time.Now()
	case k < 3 && len(live) > 3:
		l := live[r.rng.IntN(len(live))]
		l.twice = true
		r.w.ban(t, l.value, time.Duration(2+r.rng.IntN(7200))*time.Second)
	default:
		value := fmt.Sprintf([]string{"192.0.%d.%d", "10.%d.%d.0/24"}[r.rng.IntN(2)], n/256, n%256)
		if r.rng.IntN(3) == 0 {
			value = fmt.Sprintf("2001:db8::1:%x", n)
		}
		l := &life{value: value, from: time.Now()}
		length := time.Hour
		if r.rng.IntN(2) == 0 {
			length = time.Duration(3+r.rng.IntN(5)) * time.Second
		}
		end := r.w.ban(t, value, length)
		l.added = time.Now()
		if length < time.Hour {
			l.gone, l.deleted = end, end
		}
		r.lives = append(r.lives, l)
	}
}

// due is when a bouncer must have been told of a change at a time.
func (r *randomRun) due(at time.Time) time.Time {
	due := at.Add(frequency + time.Second)
	for i := range r.downs {
		if r.downs[i].Before(due) && r.ups[i].After(at) {
			due = r.ups[i].Add(frequency + time.Second)
		}
	}
	return due
}

// restarted tells whether sluice may have been killed between two times. It is
// up for a while before the test notices, and the bouncer acts on what it was
// told before a kill for a while after it.
func (r *randomRun) restarted(first, second time.Time) bool {
	for i := range r.downs {
		if first.Before(r.ups[i]) && second.After(r.downs[i]) {
			return true
		}
	}
	return false
}

// check holds what the bouncer was told against what was done. It returns how
// many calls were repeats, and how late the latest was beyond its due time.
func (r *randomRun) check(t *testing.T, calls []call) (repeats int, late time.Duration) {
	t.Helper()
	late = -time.Hour
	told := make(map[string][]call)
	for _, c := range calls {
		told[c.what+" "+c.value] = append(told[c.what+" "+c.value], c)
	}
	one := func(what string, l *life, from, at time.Time) {
		t.Helper()
		got := told[what+" "+l.value]
		if len(got) == 0 {
			t.Errorf("the bouncer was not told to %s %s", what, l.value)
			return
		}
		if got[0].at.Before(from.Add(-10 * time.Millisecond)) {
			t.Errorf("the bouncer was told to %s %s %v too early", what, l.value, from.Sub(got[0].at))
		}
		late = max(late, got[0].at.Sub(r.due(at)))
		for i := 1; i < len(got); i++ {
			repeats++
			if !r.restarted(got[i-1].at, got[i].at) {
				t.Errorf("the bouncer was told twice to %s %s, at %v and %v", what, l.value, got[i-1].at, got[i].at)
			}
		}
	}
	for _, l := range r.lives {
		if l.twice {
			continue
		}
		if !l.gone.IsZero() && !r.front.askedWithin(l.added, l.gone) && len(told["add "+l.value]) == 0 {
			continue // it was over before the bouncer asked
		}
		one("add", l, l.from, l.added)
		if !l.gone.IsZero() {
			one("del", l, l.gone, l.deleted)
		} else if n := len(told["del "+l.value]); n > 0 {
			t.Errorf("the bouncer was told %d times to del %s, which is in force", n, l.value)
		}
	}
	return repeats, late
}

// TestTheCustomBouncerIsToldOfAllThatChanges changes hundreds of decisions at
// random and kills sluice meanwhile. The bouncer must be told of each change
// in time, once, but for what it was told just before a kill.
func TestTheCustomBouncerIsToldOfAllThatChanges(t *testing.T) {
	t.Parallel()
	seed := rig.Seed(t)
	a := start(t)
	r := &randomRun{a: a, w: newWatcher(t, a), front: newFront(t, a), rng: rand.New(rand.NewPCG(seed, 0))}
	b := startCustom(t, a, map[string]any{"api_url": r.front.url + "/"})
	r.w.ban(t, "203.0.113.1", time.Hour)
	b.expect(t, "add 203.0.113.1")
	changes, kills := 300, 1
	if rig.Soak() {
		changes, kills = 3000, 20
	}
	for n := range changes {
		if n > 0 && n%(changes/(kills+1)) == 0 && len(r.downs) < kills {
			r.downs = append(r.downs, time.Now())
			a.Kill(t)
			a.StartReady(t, "the local API is served")
			r.ups = append(r.ups, time.Now())
		}
		r.change(t, n)
		if err := rig.Pause(t.Context(), time.Duration(r.rng.IntN(80))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	r.settle(t, b)
	calls := b.calls(t)
	repeats, late := r.check(t, calls)
	if late > slack {
		t.Errorf("a change was told %v later than it should have been", late)
	}
	t.Logf("%d changes on %d values, %d kills: %d calls, %d of them repeats after a kill; the latest came %v after it was due (below 0: before)",
		changes, len(r.lives), kills, len(calls), repeats, late.Round(10*time.Millisecond))
	a.Stop(t)
}

// settle waits until what the bouncer was told comes to what is in force, with
// nothing left that ends soon.
func (r *randomRun) settle(t *testing.T, b *custom) {
	t.Helper()
	for _, l := range r.lives { // what ends before long has ended
		if wait := time.Until(l.deleted); wait > 0 {
			if err := rig.Pause(t.Context(), wait); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.agree(t, b)
	r.front.through(t) // and what it is told behind that changes nothing
	r.agree(t, b)
}

// agree waits until what the bouncer was told comes to what is in force.
func (r *randomRun) agree(t *testing.T, b *custom) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), frequency+time.Second+slack)
	defer cancel()
	var want, have []string
	err := rig.Poll(ctx, "the bouncer to be told of all", func() (bool, error) {
		want, have = r.a.decided(t), b.has(t)
		return slices.Equal(want, have), r.a.Ended()
	})
	if err != nil {
		t.Fatalf("%v: what it was told comes to something else: %s", err, differ(want, have))
	}
}

// has returns what the calls of the bouncer's program come to, sorted.
func (b *custom) has(t *testing.T) []string {
	t.Helper()
	has := make(map[string]bool)
	for _, c := range b.calls(t) {
		if c.what == "add" {
			has[c.value] = true
		} else {
			delete(has, c.value)
		}
	}
	return slices.Sorted(maps.Keys(has))
}
