package blocklist

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"sluice/sinks/internal/outbound"
)

// Stamp says which version of a list was read, as its server or the file
// system tells it. The zero value is none.
type Stamp struct {
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	Size         int64     `json:"size,omitempty"`
	ModTime      time.Time `json:"mod_time,omitzero"`
}

// Fetcher opens one list. One goroutine uses it at a time.
type Fetcher struct {
	config    Config
	client    *http.Client
	transport *http.Transport
}

// NewFetcher returns a fetcher for a valid configuration. It connects to nothing yet.
func NewFetcher(c Config) (*Fetcher, error) {
	c = c.Complete()
	f := &Fetcher{config: c}
	if c.URL == "" {
		return f, nil
	}
	tls, err := c.TLS.Build()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c.Name, err)
	}
	f.transport = outbound.Transport(outbound.Options{
		Timeout: min(c.Timeout, 30*time.Second), TLS: tls, Proxy: c.Proxy.Reveal(), AllowLinkLocal: c.AllowLinkLocal, MaxIdle: 1,
	})
	f.transport.IdleConnTimeout = 10 * time.Second // the next request is long in coming
	f.client = &http.Client{Transport: f.transport, CheckRedirect: f.redirected}
	return f, nil
}

// redirected keeps headers, which may be secret, from other hosts and from
// connections that are not encrypted.
func (f *Fetcher) redirected(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) >= 10:
		return errors.New("the server leads from one address to the next without an end")
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("the server leads from https to an address without encryption")
	case req.URL.Host != first.Host:
		for name := range f.config.Headers {
			req.Header.Del(name)
		}
	}
	return nil
}

// Close frees connections.
func (f *Fetcher) Close() {
	if f.transport != nil {
		f.transport.CloseIdleConnections()
	}
}

// Open opens the list, unpacked if it is packed with gzip. The body is nil
// where the list is the one of a stamp. Reading it fails when the list is larger
// than configured, or was cut.
func (f *Fetcher) Open(ctx context.Context, old Stamp) (io.ReadCloser, Stamp, error) {
	if f.config.File != "" {
		return f.openFile(old)
	}
	ctx, cancel := context.WithTimeout(ctx, f.config.Timeout)
	body, stamp, err := f.get(ctx, old)
	if err != nil || body == nil {
		cancel()
		return nil, stamp, err
	}
	return f.unpacked(body, func() error { defer cancel(); return body.Close() }, stamp)
}

func (f *Fetcher) openFile(old Stamp) (io.ReadCloser, Stamp, error) {
	file, err := os.Open(f.config.File)
	if err != nil {
		return nil, old, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", f.config.File)
	}
	if err != nil {
		return nil, old, errors.Join(err, file.Close())
	}
	stamp := Stamp{Size: info.Size(), ModTime: info.ModTime().UTC()}
	if stamp.Size == old.Size && stamp.ModTime.Equal(old.ModTime) {
		return nil, old, file.Close()
	}
	return f.unpacked(file, file.Close, stamp)
}

func (f *Fetcher) get(ctx context.Context, old Stamp) (io.ReadCloser, Stamp, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.config.URL, http.NoBody)
	if err != nil {
		return nil, old, errors.New("url: it is no address")
	}
	req.Header.Set("User-Agent", "sluice")
	for name, value := range f.config.Headers {
		req.Header.Set(name, value.Reveal())
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value.Reveal()
		}
	}
	if old.ETag != "" {
		req.Header.Set("If-None-Match", old.ETag)
	}
	if old.LastModified != "" {
		req.Header.Set("If-Modified-Since", old.LastModified)
	}
	res, err := f.client.Do(req)
	if err != nil {
		inner := (*url.Error)(nil)
		if errors.As(err, &inner) { // the address may hold a secret
			err = inner.Err
		}
		return nil, old, err
	}
	switch {
	case res.StatusCode == http.StatusNotModified && old != Stamp{}:
		return nil, old, res.Body.Close()
	case res.StatusCode != http.StatusOK:
		_ = res.Body.Close() // what is in it is no list
		return nil, old, fmt.Errorf("the server answered %s", res.Status)
	}
	return res.Body, Stamp{ETag: res.Header.Get("ETag"), LastModified: res.Header.Get("Last-Modified")}, nil
}

// body is a list that is read, with what frees it.
type body struct {
	io.Reader
	done func() error
}

func (b *body) Close() error { return b.done() }

func (f *Fetcher) unpacked(in io.Reader, done func() error, stamp Stamp) (io.ReadCloser, Stamp, error) {
	limit := int64(f.config.MaxSize)
	r := bufio.NewReader(&bounded{in, limit, limit})
	if magic, _ := r.Peek(2); len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return &body{r, done}, stamp, nil
	}
	plain, err := gzip.NewReader(r)
	if err != nil {
		return nil, stamp, errors.Join(err, done())
	}
	return &body{&bounded{plain, limit, limit}, done}, stamp, nil
}

// bounded reads up to a number of bytes; more are an error.
type bounded struct {
	in          io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.in.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it is larger than max_size, %d bytes", b.limit)
	}
	return n, err
}
