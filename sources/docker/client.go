package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// answerLimit bounds an answer that is no stream: a list of some 10,000 containers.
const answerLimit = 64 << 20

// errGone is the error of a container that is not there any more.
var errGone = errors.New("there is no such container")

// errUnreadable is the error of a container whose logging driver keeps nothing that can be read.
var errUnreadable = errors.New("its log cannot be read")

// container is what is known of a container.
type container struct {
	ID     string            `json:"Id"`
	Names  []string          `json:"Names"` // each with a / before it
	Image  string            `json:"Image"`
	State  string            `json:"State"`
	Labels map[string]string `json:"Labels"`
}

// name is the container's own name: others are links to it.
func (c *container) name() string {
	for _, n := range c.Names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return c.ID[:min(12, len(c.ID))]
}

// client speaks the engine's API.
type client struct {
	base    string // http://engine, or https://host:port
	timeout time.Duration
	http    *http.Client

	version atomic.Pointer[string] // /v1.41, as the engine said; nil before
}

func newClient(c *Config) (*client, error) {
	network, address, err := c.address()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: c.RequestTimeout, KeepAlive: 15 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: c.RequestTimeout, DisableCompression: true,
	}
	out := &client{base: "http://engine", timeout: c.RequestTimeout, http: &http.Client{Transport: transport}}
	if network == "tcp" {
		out.base = "http://" + address
		if c.encrypted() {
			if transport.TLSClientConfig, err = c.TLS.Build(); err != nil {
				return nil, err
			}
			out.base = "https://" + address
		}
	}
	return out, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get asks for a path. The caller closes the answer's body.
func (c *client) get(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	var said struct{ Message string }
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = string(bytes.TrimSpace(text))
	}
	err = fmt.Errorf("the engine answers %s: %s", res.Status, said.Message)
	switch {
	case res.StatusCode == http.StatusNotFound:
		err = fmt.Errorf("%w: %w", errGone, err)
	case res.StatusCode == http.StatusNotImplemented, strings.Contains(said.Message, "does not support reading"):
		err = fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return nil, err
}

// ask reads an answer that is no stream.
func (c *client) ask(ctx context.Context, path string, query url.Values, answer any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.get(ctx, path, query)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if answer == nil {
		return res.Header, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, answerLimit)).Decode(answer); err != nil {
		return nil, fmt.Errorf("the engine's answer to %s: %w", path, err)
	}
	return res.Header, nil
}

// greet learns which version of the API the engine speaks, and whether it is there.
func (c *client) greet(ctx context.Context) error {
	header, err := c.ask(ctx, "/_ping", nil, nil)
	if err != nil {
		return err
	}
	prefix := ""
	if v := header.Get("Api-Version"); v != "" && strings.Trim(v, "0123456789.") == "" {
		prefix = "/v" + v
	}
	c.version.Store(&prefix)
	return nil
}

// prefix is what paths begin with. Without a version the engine takes its newest.
func (c *client) prefix() string {
	if v := c.version.Load(); v != nil {
		return *v
	}
	return ""
}

// list returns all containers, running or not.
func (c *client) list(ctx context.Context) ([]container, error) {
	var out []container
	_, err := c.ask(ctx, c.prefix()+"/containers/json", url.Values{"all": {"1"}}, &out)
	for i := range out {
		if out[i].ID == "" {
			return nil, errors.New("the engine's list has a container without an id")
		}
	}
	return out, err
}

// details are what only a container itself tells.
type details struct {
	Config struct{ Tty bool }
	State  struct{ Running bool }
}

func (c *client) inspect(ctx context.Context, id string) (details, error) {
	var out details
	_, err := c.ask(ctx, c.prefix()+"/containers/"+url.PathEscape(id)+"/json", nil, &out)
	return out, err
}

// logs opens a container's log, with the time before each line.
func (c *client) logs(ctx context.Context, id string, query url.Values) (io.ReadCloser, error) {
	res, err := c.get(ctx, c.prefix()+"/containers/"+url.PathEscape(id)+"/logs", query)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// events opens the stream of what happens to containers.
func (c *client) events(ctx context.Context) (io.ReadCloser, error) {
	filters, err := json.Marshal(map[string][]string{"type": {"container"}, "event": {"start", "die", "destroy"}})
	if err != nil {
		return nil, err
	}
	res, err := c.get(ctx, c.prefix()+"/events", url.Values{"filters": {string(filters)}})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}
