package localapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/decisions"
	"sluice/sinks"
	"sluice/sinks/localapi/blocklist"
	"sluice/sinks/localapi/store"
)

// publisher is a server of lists, which a test changes.
type publisher struct {
	*httptest.Server
	mu      sync.Mutex
	text    string
	answer  func(w http.ResponseWriter, r *http.Request) bool // true when it has answered
	sent    int                                               // times that the whole list was sent
	headers http.Header
}

func newPublisher(t *testing.T) *publisher {
	p := &publisher{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.headers = r.Header.Clone()
		if p.answer != nil && p.answer(w, r) {
			return
		}
		tag := fmt.Sprintf(`"%x"`, p.text)
		if w.Header().Set("ETag", tag); r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		p.sent++
		_, _ = w.Write([]byte(p.text))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) says(lines ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.answer = strings.Join(lines, "\n"), nil
}

func (p *publisher) answers(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// listWorld is a sink with lists, whose clock a test moves.
type listWorld struct {
	*Sink
	t     *testing.T
	c     Config
	now   time.Time
	log   bytes.Buffer
	known map[string]bool // what a bouncer holds
	seen  int64
}

func newListWorld(t *testing.T, lists ...blocklist.Config) *listWorld {
	w := &listWorld{t: t, c: Default(), now: begin, known: make(map[string]bool)}
	w.c.Dir, w.c.Blocklists = t.TempDir(), lists
	w.open()
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *listWorld) open() {
	w.t.Helper()
	var err error
	env := sinks.Env{Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	if w.Sink, err = New("api", w.c, env); err == nil {
		err = w.Open()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *listWorld) reopen() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// read reads the first list, after a while.
func (w *listWorld) read(later time.Duration) (Outcome, error) {
	w.t.Helper()
	w.now = w.now.Add(later)
	if _, err := w.store.Expire(); err != nil {
		w.t.Fatal(err)
	}
	return w.refreshList(w.t.Context(), w.lists[0], false)
}

// want reads the first list and says what must come of it.
func (w *listWorld) want(later time.Duration, want Outcome) {
	w.t.Helper()
	if got, err := w.read(later); err != nil || got != want {
		w.t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
}

// wantError reads the first list, which must fail.
func (w *listWorld) wantError(later time.Duration, says string) {
	w.t.Helper()
	if got, err := w.read(later); err == nil || !strings.Contains(err.Error(), says) {
		w.t.Errorf("read %+v, %v; want an error with %q", got, err, says)
	}
}

// pull tells a bouncer what has changed, and returns it.
func (w *listWorld) pull() string {
	w.t.Helper()
	added, removed, last, known := w.store.Index().Delta(w.seen, &decisions.Filter{Enforced: true}, w.now, true)
	if !known {
		w.t.Fatal("changes are not known any more")
	}
	var told []string
	for _, d := range removed {
		told = append(told, "-"+d.Value)
		if !w.known[d.Value] {
			w.t.Errorf("%s is removed and was not there", d.Value)
		}
		delete(w.known, d.Value)
	}
	for _, d := range added {
		told = append(told, "+"+d.Value)
		w.known[d.Value] = true
	}
	slices.Sort(told)
	w.seen = last
	return strings.Join(told, " ")
}

func (w *listWorld) inForce() string {
	var out []string
	w.store.Index().Select(&decisions.Filter{}, w.now, func(d *decisions.Decision) bool {
		out = append(out, d.Value)
		return true
	})
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestAListIsFollowed(t *testing.T) {
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL, Headers: map[string]component.Secret{"X-Api-Key": "hunter2"}})
	p.says("192.0.2.1", "198.51.100.0/24", "192.0.2.1", "2001:db8::1")
	w.want(0, Outcome{Items: 3, Added: 3})
	if got := w.pull(); got != "+192.0.2.1 +198.51.100.0/24 +2001:db8::1" {
		t.Errorf("the bouncer is told %q", got)
	}
	w.store.Listed("bad", func(d *decisions.Decision) {
		if d.Origin != "lists:bad" || d.Scenario != "bad" || d.Type != "ban" || d.Until != begin.Add(24*time.Hour) {
			t.Errorf("a decision is %+v", d)
		}
	})
	if p.headers.Get("X-Api-Key") != "hunter2" {
		t.Errorf("the headers are %v", p.headers)
	}

	for origin, want := range map[string]int{"lists": 1, "lists:bad": 1, "lists:worse": 0, "crowdsec": 0} {
		f, err := readAlertFilter(url.Values{"origin": {origin}, "has_active_decision": {"true"}}, w.now)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := w.store.Alerts(func(a *store.Alert) bool {
			if f.selects(a, w.store.InForce(w.now)) {
				n++
			}
			return true
		}); err != nil || n != want {
			t.Errorf("%d alerts of origin %s, %v", n, origin, err)
		}
	}

	w.want(time.Hour, Outcome{Items: 3, Unchanged: true})
	if p.sent != 1 {
		t.Errorf("the list was sent %d times", p.sent)
	}
	p.says("2001:db8::1", "203.0.113.9", "198.51.100.0/24")
	w.want(time.Hour, Outcome{Items: 3, Added: 1, Removed: 1})
	if got := w.pull(); got != "+203.0.113.9 -192.0.2.1" {
		t.Errorf("of what stays the bouncer is told too: %q", got)
	}
	if got := w.inForce(); got != "198.51.100.0/24 2001:db8::1 203.0.113.9" {
		t.Errorf("in force are %s", got)
	}
}

func TestWhatStaysIsRenewedBeforeItEnds(t *testing.T) {
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL, Every: time.Hour, Duration: 4 * time.Hour})
	p.says("192.0.2.1", "192.0.2.2")
	w.want(0, Outcome{Items: 2, Added: 2})
	w.pull()
	gaps := 0
	for n := 1; n <= 12; n++ {
		want := Outcome{Items: 2, Unchanged: true}
		if n%3 == 0 { // one hour is left, which is less than two turns
			want.Renewed = 2
		}
		w.want(time.Hour, want)
		if w.inForce() != "192.0.2.1 192.0.2.2" {
			gaps++
		}
		if told := w.pull(); told != "" && want.Renewed == 0 || strings.Contains(told, "-") {
			t.Errorf("in hour %d the bouncer is told %q", n, told)
		}
	}
	if gaps > 0 || p.sent != 1 {
		t.Errorf("%d times something was missing; the list was sent %d times", gaps, p.sent)
	}
	p.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	for range 3 {
		w.wantError(time.Hour, "503")
	}
	if got := w.inForce(); got != "192.0.2.1 192.0.2.2" {
		t.Errorf("while the server is away, in force are %s", got)
	}
	w.wantError(time.Hour, "503")
	if got := w.inForce(); got != "" {
		t.Errorf("once their time is over, in force are %s", got)
	}
	p.answers(nil)
	w.want(time.Hour, Outcome{Items: 2, Added: 2}) // not "unchanged": they are gone
	if n := strings.Count(w.log.String(), "cannot be read"); n != 1 || !strings.Contains(w.log.String(), "is read again") {
		t.Errorf("the log tells of the trouble %d times\n%s", n, w.log.String())
	}
}

func TestAListThatIsNoneLeavesAllAsItIs(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.0.%d", i))
	}
	page := "<!DOCTYPE html><html>Sign in</html>"
	cut := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "5000")
		_, _ = w.Write([]byte(strings.Join(many, "\n")))
		return true
	}
	packed := func(w http.ResponseWriter, _ *http.Request) bool {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write([]byte(strings.Join(many[:50], "\n")))
		_ = z.Close()
		_, _ = w.Write(out.Bytes()[:out.Len()-10])
		return true
	}
	for name, c := range map[string]struct {
		text   string
		answer func(http.ResponseWriter, *http.Request) bool
		says   string
	}{
		"a page":                     {page, nil, "web page"},
		"nothing":                    {"", nil, "allow_empty"},
		"comments":                   {"# nothing today", nil, "allow_empty"},
		"a body that was cut":        {"", cut, "unexpected EOF"},
		"a packed one that was cut":  {"", packed, "unexpected EOF"},
		"an array that does not end": {`[{"value":"192.0.2.1"},`, nil, "item 2"},
		"prose":                      {strings.Repeat("what is this\n", 5), nil, "line 1"},
		"more than it may have":      {strings.Join(many, "\n") + "\n1.1.1.1", nil, "max_entries"},
		"a larger one than may be":   {strings.Repeat("#", 5000), nil, "max_size"},
		"half of it":                 {strings.Join(many[:49], "\n"), nil, "held 100 before"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL, MaxEntries: 100, MaxMalformed: 3, MaxSize: 4096})
			p.says(many...)
			w.want(0, Outcome{Items: 100, Added: 100})
			before := w.inForce()
			p.says(c.text)
			p.answers(c.answer)
			w.wantError(time.Hour, c.says)
			if got := w.inForce(); got != before {
				t.Errorf("in force are %s", got)
			}
			if state, next := w.lists[0].see(); state.LastError == "" || !next.After(w.now) || next.After(w.now.Add(time.Minute)) {
				t.Errorf("the state is %+v, and next is %v", state, next)
			}
		})
	}
}

func TestAListThatHasShrunkIsBelievedAtTheSecondTime(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.0.%d", i))
	}
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL})
	p.says(many...)
	w.want(0, Outcome{Items: 100, Added: 100})
	p.says(many[:10]...)
	w.wantError(time.Hour, "--force")
	w.wantError(time.Minute, "--force")
	w.want(time.Hour, Outcome{Items: 10, Removed: 90})
	p.says(many...)
	w.want(time.Hour, Outcome{Items: 100, Added: 90})
	p.says(many[:10]...)
	w.wantError(time.Hour, "--force")
	if got, err := w.refreshList(t.Context(), w.lists[0], true); err != nil || got.Removed != 90 {
		t.Errorf("by force: %+v, %v", got, err)
	}
}

func TestAListSurvivesARestart(t *testing.T) {
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL}, blocklist.Config{Name: "other", URL: p.URL + "/other", Type: "captcha"})
	p.says("192.0.2.1", "192.0.2.2")
	w.want(0, Outcome{Items: 2, Added: 2})
	if _, err := w.refreshList(t.Context(), w.lists[1], false); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	w.want(time.Hour, Outcome{Items: 2, Unchanged: true})
	p.says("192.0.2.2", "192.0.2.3")
	w.reopen()
	w.want(time.Hour, Outcome{Items: 2, Added: 1, Removed: 1})
	if got := w.inForce(); got != "192.0.2.1 192.0.2.2 192.0.2.2 192.0.2.3" {
		t.Errorf("in force are %s", got)
	}
	if err := w.lists[0].begin(w.store); err != nil {
		t.Fatal(err)
	}
	if _, next := w.lists[0].see(); next != w.now.Add(time.Hour) {
		t.Errorf("after a restart it is read at %v", next)
	}
	// Another type is decided on the same list, and the second list is gone.
	w.c.Blocklists = w.c.Blocklists[:1]
	w.c.Blocklists[0].Type = "throttle"
	w.reopen()
	if err := w.dropLists(); err != nil {
		t.Fatal(err)
	}
	w.want(0, Outcome{Items: 2, Added: 2, Removed: 2})
	w.store.Index().Select(&decisions.Filter{}, w.now, func(d *decisions.Decision) bool {
		if d.Type != "throttle" || d.Origin != "lists:bad" {
			t.Errorf("in force is %+v", d)
		}
		return true
	})
	if !strings.Contains(w.log.String(), "no longer configured") {
		t.Errorf("the log says nothing of the list that is gone\n%s", w.log.String())
	}
	if known, err := w.store.Lists(); err != nil || len(known) != 1 {
		t.Errorf("known are %+v, %v", known, err)
	}
}

func TestWhatIsAllowedIsNotTakenFromAList(t *testing.T) {
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL})
	if _, _, err := w.store.ChangeAllowlist("office", store.AllowlistChange{Add: []store.Allowed{{Value: "192.0.2.0/24"}}}); err != nil {
		t.Fatal(err)
	}
	p.says("192.0.2.1", "198.51.100.1")
	w.want(0, Outcome{Items: 2, Added: 1, Allowed: 1})
	w.want(time.Hour, Outcome{Items: 2, Unchanged: true})
	alerts := 0
	if err := w.store.Alerts(func(*store.Alert) bool { alerts++; return true }); err != nil || alerts != 1 {
		t.Errorf("there are %d alerts, %v", alerts, err)
	}
	if err := w.store.DeleteAllowlist("office"); err != nil {
		t.Fatal(err)
	}
	w.want(time.Hour, Outcome{Items: 2, Added: 1})
	if _, err := w.store.Delete(&decisions.Filter{Value: "192.0.2.1", Scope: "Ip"}); err != nil {
		t.Fatal(err)
	}
	w.want(time.Hour, Outcome{Items: 2, Added: 1}) // the list still says so
}

func TestItemsHaveTypesDurationsAndMistakes(t *testing.T) {
	p := newPublisher(t)
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL, MaxMalformed: 2})
	p.says("value,type,duration,scope", "192.0.2.1,captcha,30m,", "nowhere,,,", "192.0.2.2,,soon,", "FR,,,country", "192.0.2.3,,48h,")
	w.want(0, Outcome{Items: 3, Added: 3, Malformed: 2})
	if log := w.log.String(); !strings.Contains(log, "line 3") || !strings.Contains(log, "nowhere") {
		t.Errorf("the log does not name the first mistake\n%s", log)
	}
	w.pull()
	w.want(time.Hour, Outcome{Items: 3, Added: 1, Malformed: 2}) // what has ended is still listed
	if got := w.pull(); got != "+192.0.2.1" && got != "+192.0.2.1 -192.0.2.1" {
		t.Errorf("the bouncer is told %q", got)
	}
	if p.sent != 2 {
		t.Errorf("the list was sent %d times: with durations of its own it must be every time", p.sent)
	}
}

func TestAFileIsReadWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.gz")
	write := func(text string, at time.Time) {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	w := newListWorld(t, blocklist.Config{Name: "bad", File: path})
	w.wantError(0, "no such file")
	write("192.0.2.1\n", begin)
	w.want(time.Hour, Outcome{Items: 1, Added: 1})
	w.want(time.Hour, Outcome{Items: 1, Unchanged: true})
	write("192.0.2.2\n", begin.Add(time.Second))
	w.want(time.Hour, Outcome{Items: 1, Added: 1, Removed: 1})
}

func TestSecretsStayWithTheServerThatTheyAreFor(t *testing.T) {
	elsewhere := newPublisher(t)
	elsewhere.says("192.0.2.1")
	p := newPublisher(t)
	p.answers(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		return true
	})
	w := newListWorld(t, blocklist.Config{Name: "bad", URL: p.URL + "/?token=hunter2", Headers: map[string]component.Secret{"x-api-key": "hunter2"}})
	w.want(0, Outcome{Items: 1, Added: 1})
	if elsewhere.headers.Get("X-Api-Key") != "" || p.headers.Get("X-Api-Key") == "" {
		t.Errorf("the other server is sent %v", elsewhere.headers)
	}
	p.Close()
	w.wantError(time.Hour, "refused")
	if strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("the log tells a secret\n%s", w.log.String())
	}
	leading := newPublisher(t)
	leading.answers(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		return true
	})
	linkLocal := newListWorld(t, blocklist.Config{Name: "bad", URL: leading.URL})
	linkLocal.wantError(0, "allow_link_local")
}
