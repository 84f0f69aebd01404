package httpd

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice/pipeline/component"
)

// AuthConfig says who may send: whoever has one of these keys. Where it names
// none, everybody who can connect may.
type AuthConfig struct {
	// Users sign in with a name and a password (basic authentication).
	Users []Key `yaml:"users"`
	// Tokens are sent as `Authorization: Bearer KEY`.
	Tokens []Key `yaml:"tokens"`
	// Keys are sent in a header of their own, `key_header`.
	Keys []Key `yaml:"keys"`
	// KeyHeader is the header of `keys`.
	KeyHeader string `yaml:"key_header"`
}

// Key is a secret that a client shows.
type Key struct {
	// Name is the user's name, or what a token or key is called in `clients` of a path.
	Name string `yaml:"name"`
	// Key is the password, token or key. Write it as `${VARIABLE}` to take it from the environment. It is never logged.
	Key component.Secret `yaml:"key"`
	// KeyFile holds the key instead, or several, a line each, any of which is good: so that keys can be changed one client after the
	// other. The file is read again when it has changed.
	KeyFile string `yaml:"key_file"`
}

func (c *AuthConfig) any() bool { return len(c.Users)+len(c.Tokens)+len(c.Keys) > 0 }

func (c *AuthConfig) validate() error {
	for _, g := range []struct {
		key  string
		list []Key
	}{{"auth.users", c.Users}, {"auth.tokens", c.Tokens}, {"auth.keys", c.Keys}} {
		for _, k := range g.list {
			switch {
			case k.Key == "" && k.KeyFile == "":
				return component.Invalid(g.key, "%q has neither key nor key_file", k.Name)
			case k.Key != "" && k.KeyFile != "":
				return component.Invalid(g.key, "%q has key and key_file: give one of them", k.Name)
			case g.key == "auth.users" && (k.Name == "" || strings.Contains(k.Name, ":")):
				return component.Invalid(g.key, "a user needs a name, without a colon")
			}
		}
	}
	if len(c.Keys) > 0 && !httpguts.ValidHeaderFieldName(c.KeyHeader) {
		return component.Invalid("auth.key_header", "%q is no name of a header, such as X-API-Key", c.KeyHeader)
	}
	return nil
}

// digest is what keys are compared by, so that comparing takes the same time whatever they are.
type digest [sha256.Size]byte

// secret is a key as it is checked.
type secret struct {
	name string
	file string
	keys []digest

	seen time.Time // the file's time of change when it was read
	size int64
}

// keyring checks keys. Any goroutine may use it.
type keyring struct {
	config *AuthConfig

	mu      sync.Mutex
	checked time.Time
	users   []*secret
	tokens  []*secret
	keys    []*secret
	failed  func(err error) // told when a file cannot be read again
}

// recheck is how often files are looked at for changes, at most.
const recheck = time.Second

// newKeyring reads all keys.
func newKeyring(c *AuthConfig, failed func(error)) (*keyring, error) {
	k := &keyring{config: c, failed: failed, checked: time.Now()}
	for _, g := range []struct {
		from []Key
		to   *[]*secret
	}{{c.Users, &k.users}, {c.Tokens, &k.tokens}, {c.Keys, &k.keys}} {
		for _, key := range g.from {
			s := &secret{name: key.Name, file: key.KeyFile}
			if s.file == "" {
				s.keys = []digest{sha256.Sum256([]byte(key.Key.Reveal()))}
			} else if err := s.read(); err != nil {
				return nil, err
			}
			*g.to = append(*g.to, s)
		}
	}
	return k, nil
}

// read reads the file if it has changed.
func (s *secret) read() error {
	info, err := os.Stat(s.file)
	if err != nil {
		return fmt.Errorf("key_file of %q: %w", s.name, err)
	}
	if info.ModTime().Equal(s.seen) && info.Size() == s.size {
		return nil
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return fmt.Errorf("key_file of %q: %w", s.name, err)
	}
	var keys []digest
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			keys = append(keys, sha256.Sum256(line))
		}
	}
	if len(keys) == 0 {
		return fmt.Errorf("key_file of %q: %s holds no key; write one a line", s.name, s.file)
	}
	s.keys, s.seen, s.size = keys, info.ModTime(), info.Size()
	return nil
}

// refresh reads files that have changed; what was read before stays where one cannot be.
// It is called with the lock held.
func (k *keyring) refresh() {
	if time.Since(k.checked) < recheck {
		return
	}
	k.checked = time.Now()
	for _, g := range [][]*secret{k.users, k.tokens, k.keys} {
		for _, s := range g {
			if s.file == "" {
				continue
			}
			if err := s.read(); err != nil {
				k.failed(err)
			}
		}
	}
}

// check returns who sends a request; ok is false when no key of it is good.
func (k *keyring) check(r *http.Request) (name string, ok bool) {
	if !k.config.any() {
		return "", true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") {
		if name, ok := match(k.tokens, strings.TrimSpace(rest), nil); ok {
			return name, true
		}
	}
	if user, password, given := r.BasicAuth(); given {
		if name, ok := match(k.users, password, &user); ok {
			return name, true
		}
	}
	if len(k.keys) > 0 {
		if given := r.Header[textproto.CanonicalMIMEHeaderKey(k.config.KeyHeader)]; len(given) > 0 {
			return match(k.keys, given[0], nil)
		}
	}
	return "", false
}

// match compares a key with all that there are, so that the time tells nothing.
func match(all []*secret, key string, user *string) (name string, ok bool) {
	have := digest(sha256.Sum256([]byte(key)))
	for _, s := range all {
		right := 1
		if user != nil {
			right = subtle.ConstantTimeCompare([]byte(s.name), []byte(*user))
		}
		for _, want := range s.keys {
			if subtle.ConstantTimeCompare(have[:], want[:])&right == 1 {
				name, ok = s.name, true
			}
		}
	}
	return name, ok
}

// challenge is what a client without a good key is told that it may show.
func (k *keyring) challenge(h http.Header) {
	if len(k.tokens) > 0 {
		h.Add("WWW-Authenticate", `Bearer realm="sluice"`)
	}
	if len(k.users) > 0 {
		h.Add("WWW-Authenticate", `Basic realm="sluice", charset="UTF-8"`)
	}
	if len(k.keys) > 0 {
		h.Add("WWW-Authenticate", `ApiKey realm="sluice"`)
	}
}
