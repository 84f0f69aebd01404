package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"syscall"

	"sluice/pipeline/lapi"
	"sluice/sinks"
)

// Client is the command line's end of Admin: of the running server, where one
// runs, or of a store that it opens itself.
type Client struct {
	do   func(*http.Request) (*http.Response, error)
	done func() error
}

// Dial returns a client of the sink that a configuration describes.
func Dial(ctx context.Context, name string, c Config, env sinks.Env) (*Client, error) {
	dir := c.folder(env.Complete(), name)
	if dir == "" {
		return nil, fmt.Errorf("sink %s: there is no folder for decisions; set state.dir, or dir", name)
	}
	path := filepath.Join(dir, socketName)
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it was to see whether anyone is there
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
		return &Client{do: t.RoundTrip, done: func() error { t.CloseIdleConnections(); return nil }}, nil
	}
	if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("reaching the running sluice: %w", err)
	}
	s, err := New(name, c, env)
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		return nil, err
	}
	h := s.Admin()
	return &Client{done: s.Close, do: func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}}, nil
}

// Do makes a request: in is its body in JSON, nil for none, and out gets the
// answer's, nil where there is none. An answer that is an error becomes one.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sluice"+path, body)
	if err != nil {
		return err
	}
	res, err := c.do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var e lapi.ErrorResponse
		if json.Unmarshal(text, &e) != nil || e.Message == "" {
			e.Message = res.Status
		}
		return errors.New(e.Message)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// Close frees what the client holds.
func (c *Client) Close() error { return c.done() }
