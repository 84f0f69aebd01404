package logquery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// errTooLarge is the error of an answer that is larger than is allowed.
var errTooLarge = errors.New("the answer is larger than max_answer_bytes")

// refusedError is an answer that says no.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return e.text }

// client asks a database.
type client struct {
	config *Config
	base   string
	header http.Header // of every request, beside the sign-in
	http   *http.Client
}

func newClient(c *Config, extra http.Header) (*client, error) {
	tlsConfig, err := c.TLS.Build()
	if err != nil {
		return nil, err
	}
	out := &client{
		config: c, base: strings.TrimRight(c.URL, "/") + strings.TrimRight("/"+strings.Trim(c.Prefix, "/"), "/"), header: extra.Clone(),
		http: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if out.header == nil {
		out.header = make(http.Header)
	}
	for name, value := range c.Headers {
		out.header.Set(name, value.Reveal())
	}
	return out, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get asks for a path and returns the answer.
func (c *client) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	if err := c.signIn(req); err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, withoutQuery(err)
	}
	defer res.Body.Close()
	limit := int64(c.config.MaxAnswerBytes)
	if res.StatusCode != http.StatusOK {
		limit = 1000
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, &refusedError{res.StatusCode, fmt.Sprintf("the answer is %s: %s", res.Status, bytes.TrimSpace(text[:min(len(text), 1000)]))}
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case int64(len(text)) > limit:
		return nil, errTooLarge
	}
	return text, nil
}

func (c *client) signIn(req *http.Request) error {
	a := &c.config.Auth
	switch {
	case a.Username != "":
		password, err := secretOf(a.Password.Reveal(), a.PasswordFile)
		if err != nil {
			return err
		}
		req.SetBasicAuth(a.Username, password)
	case c.config.BearerToken != "" || c.config.BearerTokenFile != "":
		token, err := secretOf(c.config.BearerToken.Reveal(), c.config.BearerTokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

func secretOf(text, file string) (string, error) {
	if file == "" {
		return text, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// withoutQuery shortens an error of HTTP, which repeats the whole address.
func withoutQuery(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
