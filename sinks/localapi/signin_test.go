package localapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice/pipeline/component"
	"sluice/sinks/localapi/store"
)

// TestWhatIsRevokedInUseIsWorthNothing takes keys and machines away from
// clients that have just been admitted by them.
func TestWhatIsRevokedInUseIsWorthNothing(t *testing.T) {
	s := newServer(t, nil, nil)
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "")
	key, err := s.store.RotateBouncer("fw")
	if err != nil {
		t.Fatal(err)
	}
	s.want(403, bouncer, "GET", "/v1/decisions/stream", "", forbidden)
	s.key = key
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "")
	if err := s.store.DeleteBouncer("fw"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/decisions", "/v1/decisions/stream"} {
		s.want(403, bouncer, "GET", path, "", forbidden)
		s.want(403, bouncer, "HEAD", path, "")
	}
	s.want(403, bouncer, "POST", "/v1/usage-metrics", "{}", forbidden)

	s.want(200, machine, "GET", "/v1/heartbeat", "")
	if err := s.store.DeleteMachine("agent"); err != nil {
		t.Fatal(err)
	}
	s.want(401, machine, "GET", "/v1/heartbeat", "", unauthorized)
	s.want(401, machine, "GET", "/v1/refresh_token", "", unauthorized)
	s.want(401, machine, "POST", "/v1/alerts", "[]", unauthorized)
	s.now = s.now.Add(1e9)
	if err := s.store.AddMachine("agent", "another password", true); err != nil {
		t.Fatal(err)
	}
	s.want(401, machine, "GET", "/v1/heartbeat", "", unauthorized) // a machine of the same name is another one
}

// TestATokenCountsOnItsOwnServerOnly takes the token of a machine to a server
// that has a machine of the same name, made at the same time.
func TestATokenCountsOnItsOwnServerOnly(t *testing.T) {
	one, other := newServer(t, nil, nil), newServer(t, nil, nil)
	one.want(200, machine, "GET", "/v1/heartbeat", "")
	other.want(200, machine, "GET", "/v1/heartbeat", "")
	one.token, other.token = other.token, one.token
	one.want(401, machine, "GET", "/v1/heartbeat", "", unauthorized)
	other.want(401, machine, "GET", "/v1/heartbeat", "", unauthorized)
}

// TestSigningInDoesNotTellWhatWasWrong compares the answers to a name that
// there is none of, to a wrong password, and to a machine that is not valid.
func TestSigningInDoesNotTellWhatWasWrong(t *testing.T) {
	s := newServer(t, nil, nil)
	if err := s.store.AddMachine("waiting", "secret", false); err != nil {
		t.Fatal(err)
	}
	answers := make(map[string][]string)
	for who, body := range map[string]string{
		"nobody": `{"machine_id":"nobody","password":"hunter2"}`, "a wrong password": `{"machine_id":"agent","password":"wrong"}`, "no password": `{"machine_id":"agent","password":""}`,
		"part of the password": `{"machine_id":"agent","password":"hunter"}`, "one that waits": `{"machine_id":"waiting","password":"secret"}`,
	} {
		res, text := s.verdictOf("POST", "/v1/watchers/login", body, nil)
		res.Header.Del("Date")
		answer := fmt.Sprint(res.StatusCode, res.Header, text)
		answers[answer] = append(answers[answer], who)
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
}

// TestPasswordsAndVerdictKeysAreNotGuessed has somebody guess until he is kept
// out: from then on he does not learn that a guess is right, either.
func TestPasswordsAndVerdictKeysAreNotGuessed(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.Verdict.Key = "the key of the proxy" })
	for range guessBurst {
		s.want(403, nobody, "POST", "/v1/watchers/login", `{"machine_id":"agent","password":"a guess"}`, forbidden)
	}
	s.want(429, nobody, "POST", "/v1/watchers/login", `{"machine_id":"agent","password":"a guess"}`, tooMany)
	s.want(429, nobody, "POST", "/v1/watchers/login", `{"machine_id":"agent","password":"hunter2"}`, tooMany)
	right := http.Header{"X-Api-Key": {"the key of the proxy"}}
	if res, _ := s.verdictOf("GET", "/v1/verdict?ip=192.0.2.1", "", right); res.StatusCode != 200 {
		t.Errorf("the proxy's key is answered %d after wrong passwords", res.StatusCode)
	}
	for i := range guessBurst {
		if res, _ := s.verdictOf("GET", "/v1/verdict?ip=192.0.2.1", "", http.Header{"X-Api-Key": {fmt.Sprint("a guess", i)}}); res.StatusCode != 403 {
			t.Errorf("a guess is answered %d", res.StatusCode)
		}
	}
	if res, _ := s.verdictOf("GET", "/v1/verdict?ip=192.0.2.1", "", right); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a right guess among wrong ones is answered %d", res.StatusCode)
	}
}

// TestAWrongKeyInUseKeepsNobodyElseOut has a bouncer ask again and again with
// a key that was rotated, and a machine with a token that has run out, behind the
// address of those that have the right ones.
func TestAWrongKeyInUseKeepsNobodyElseOut(t *testing.T) {
	s := newServer(t, nil, nil)
	key, err := s.store.RotateBouncer("fw")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * guessBurst {
		s.want(403, bouncer, "GET", "/v1/decisions/stream", "", forbidden)
		s.want(403, nobody, "GET", "/v1/decisions", "", forbidden)
		s.want(401, nobody, "GET", "/v1/heartbeat", "", unauthorized)
	}
	s.key = key
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "")
	s.want(200, machine, "GET", "/v1/heartbeat", "")
	for i := range guessBurst {
		s.key = fmt.Sprint("a key that is a guess: ", i)
		s.ask(bouncer, "GET", "/v1/decisions", "")
	}
	s.want(429, bouncer, "GET", "/v1/decisions", "", tooMany) // one that was tried before, too
	s.key = key
	s.want(429, bouncer, "GET", "/v1/decisions", "", tooMany)
}

// TestSecretsAreNotLogged signs in rightly and wrongly, and looks for what was
// shown in the log and in the answers.
func TestSecretsAreNotLogged(t *testing.T) {
	secrets := []string{"a-registration-token-of-32-letters", "a wrong password", "a wrong key of a bouncer", "hunter2"}
	s := newServer(t, nil, func(c *Config) {
		c.AutoRegistration.Token, c.AutoRegistration.AllowedRanges = component.Secret(secrets[0]), []string{"127.0.0.0/8"}
	})
	var said bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	answers := s.want(202, nobody, "POST", "/v1/watchers", `{"machine_id":"m","password":"hunter2","registration_token":"`+secrets[0]+`"}`) +
		s.want(403, nobody, "POST", "/v1/watchers", `{"machine_id":"m","password":"hunter2","registration_token":"`+secrets[0]+`"}`) +
		s.want(403, nobody, "POST", "/v1/watchers/login", `{"machine_id":"m","password":"a wrong password"}`) +
		s.want(400, nobody, "POST", "/v1/watchers/login", `{"machine_id":7,"password":"a wrong password"}`) +
		s.want(400, nobody, "POST", "/v1/watchers/login", `{"machine_id":"m","password":"hunter2`)
	s.key = secrets[2]
	answers += s.want(403, bouncer, "GET", "/v1/decisions", "")
	s.log.Info("it was told", "config", s.config)
	for _, secret := range append(secrets, s.token) {
		if strings.Contains(said.String(), secret) || strings.Contains(answers, secret) {
			t.Errorf("%q is told: %s\n%s", secret, said.String(), answers)
		}
	}
}

// together is a body that is read once all of several have begun to be.
type together struct {
	io.Reader
	begun *sync.WaitGroup
	once  sync.Once
}

func (b *together) Read(p []byte) (int, error) {
	b.once.Do(func() { b.begun.Done(); b.begun.Wait() })
	return b.Reader.Read(p)
}

// TestGuessesThatComeTogetherAreCounted has many guess at once: they are let in
// one after the other, and so no more of them than if they had come so.
func TestGuessesThatComeTogetherAreCounted(t *testing.T) {
	token := strings.Repeat("t", 32)
	s := newServer(t, nil, func(c *Config) {
		c.AutoRegistration.Token, c.AutoRegistration.AllowedRanges = component.Secret(token), []string{"192.0.2.0/24"}
	})
	for path, body := range map[string]string{
		"/v1/watchers/login": `{"machine_id":"agent","password":"hunter%02d"}`,
		"/v1/watchers":       `{"machine_id":"me","password":"x","registration_token":"` + token[2:] + `%02d"}`,
	} {
		const many = 3 * guessBurst
		s.passwords = newGuard(s.env.Now)
		var begun, ended sync.WaitGroup
		begun.Add(many)
		answers := make(chan int, many)
		for i := range many {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, &together{Reader: strings.NewReader(fmt.Sprintf(body, i+10)), begun: &begun})
			ended.Go(func() {
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, r)
				answers <- w.Code
			})
		}
		ended.Wait()
		close(answers)
		got := make(map[int]int)
		for status := range answers {
			got[status]++
		}
		if got[http.StatusForbidden] != guessBurst || got[http.StatusTooManyRequests] != many-guessBurst {
			t.Errorf("%s: %d guesses are answered %v", path, many, got)
		}
	}
}

// counted counts what is read of it.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestLittleIsReadOfNobody sends what would take hundreds of megabytes to understand, packed and not.
func TestLittleIsReadOfNobody(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.Registration = true })
	long := `{"machine_id":"me","password":"x","scenarios":[` + strings.Repeat("0,", 2<<20) + `0]}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, long); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, body, encoding string
		atMost               int
	}{
		{"/v1/watchers/login", long, "", maxSignIn}, {"/v1/watchers", long, "", maxSignIn}, {"/v1/usage-metrics", long, "", store.MaxReport},
		{"/v1/watchers/login", packed.String(), "gzip", maxSignIn}, {"/v1/watchers", packed.String(), "gzip", maxSignIn}, {"/v1/usage-metrics", packed.String(), "gzip", store.MaxReport},
	} {
		body := &counted{Reader: strings.NewReader(c.body)}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, body)
		r.Header.Set("X-Api-Key", s.key)
		r.Header.Set("Content-Encoding", c.encoding)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), fmt.Sprint(c.atMost)) || body.n > c.atMost+1 {
			t.Errorf("%s %s: of %d bytes %d are read, and it is answered %d %s", c.path, c.encoding, len(c.body), body.n, w.Code, w.Body)
		}
	}
	// An engine with all that the hub has is far from it.
	names := `"` + strings.Repeat("x", 50) + `"`
	s.want(200, nobody, "POST", "/v1/watchers/login", `{"machine_id":"agent","password":"hunter2","scenarios":[`+strings.Repeat(names+",", 3000)+names+`]}`)
}
