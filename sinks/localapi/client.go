package localapi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"sluice/pipeline/lapi"
	"sluice/sinks"
	"sluice/sinks/localapi/store"
)

// Client is the command line's end of Admin: of the running server, where one
// runs, or of a store that it opens itself.
type Client struct {
	do   func(*http.Request) (*http.Response, error)
	done func() error
}

// heldWait is how long a sluice waits for a command that has the store, and a
// command for a sluice that starts.
const heldWait = 10 * time.Second

// Dial returns a client of the sink that a configuration describes.
func Dial(ctx context.Context, name string, c Config, env sinks.Env) (*Client, error) {
	env = env.Complete()
	dir := c.folder(env, name)
	if dir == "" {
		return nil, fmt.Errorf("sink %s: there is no folder for decisions; set state.dir, or dir", name)
	}
	path, err := socketIn(dir)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		client, err := dialRunning(ctx, path)
		if err == nil && client == nil {
			client, err = openStore(name, c, env)
		}
		if !errors.Is(err, store.ErrHeld) || waited >= heldWait {
			return client, err
		}
		select { // one that starts has the store before it listens
		case <-env.After(step):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// dialRunning returns a client of the server that listens at a socket, nil where none does.
func dialRunning(ctx context.Context, path string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, nil
	case err != nil:
		return nil, unreachable(err)
	}
	_ = conn.Close() // it was to see whether anyone is there
	t := &http.Transport{DialContext: dial}
	return &Client{do: t.RoundTrip, done: func() error { t.CloseIdleConnections(); return nil }}, nil
}

// unreachable says why the socket of a sluice that runs cannot be used, and
// what to do where it is a question of rights.
func unreachable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("reaching the running sluice: %w; run the command as the user whom the folder belongs to", err)
	}
	return fmt.Errorf("reaching the running sluice: %w", err)
}

// openStore returns a client that has the store itself.
func openStore(name string, c Config, env sinks.Env) (*Client, error) {
	s, err := New(name, c, env)
	if err != nil {
		return nil, err
	}
	s.heldWait = 0
	if err := s.Open(); err != nil {
		return nil, err
	}
	h := s.Admin()
	return &Client{done: s.Close, do: func(r *http.Request) (*http.Response, error) { return answer(h, r) }}, nil
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
	return c.Send(ctx, method, path, body, out)
}

// Send is Do with a body as it is.
func (c *Client) Send(ctx context.Context, method, path string, body io.Reader, out any) error {
	res, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// ask makes a request. An answer that is an error becomes one.
func (c *Client) ask(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sluice"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.do(req)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var e lapi.ErrorResponse
	if json.Unmarshal(text, &e) != nil || e.Message == "" {
		e.Message = res.Status
	}
	return nil, errors.New(e.Message)
}

// Each asks for a list and calls visit with its items as they come: the list
// may be of any length. One that breaks off is an error, behind the items that came.
func Each[T any](ctx context.Context, c *Client, path string, visit func(item *T) error) error {
	res, err := c.ask(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d, n := json.NewDecoder(bufio.NewReaderSize(res.Body, partSize)), 0
	broken := func(err error) error {
		if err == io.EOF { // before the list's end
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("the list broke off after %d items, and these are not all; ask again: %w", n, err)
	}
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		return broken(cmp.Or(err, errNoList))
	}
	for ; d.More(); n++ {
		var item T // a fresh one: what an item leaves out is not that of the one before
		if err := d.Decode(&item); err != nil {
			return broken(err)
		}
		if err := visit(&item); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return broken(err)
	}
	if _, err := d.Token(); err != io.EOF { // the connection was cut, or there is more than a list
		return broken(cmp.Or(err, errNoList))
	}
	return nil
}

var errNoList = errors.New("the answer is no list")

// Close frees what the client holds.
func (c *Client) Close() error { return c.done() }
