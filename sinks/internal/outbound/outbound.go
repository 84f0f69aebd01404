package outbound

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// Options say how requests leave.
type Options struct {
	// Timeout bounds connecting.
	Timeout time.Duration
	// TLS is the client's side of encryption; nil is the standard library's.
	TLS *tls.Config
	// Proxy is the URL of a proxy; empty takes none, whatever the environment says.
	Proxy string
	// AllowLinkLocal turns the guard off.
	AllowLinkLocal bool
	// MaxIdle is how many idle connections to one host are kept.
	MaxIdle int
}

// Transport returns the transport of all requests. The guard looks at the
// address that a name has led to, so that no name or redirection gets around it.
func Transport(o Options) *http.Transport {
	d := &net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}
	if !o.AllowLinkLocal {
		d.Control = func(_, address string, _ syscall.RawConn) error { return Check(address) }
	}
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: o.MaxIdle, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
	if o.Proxy != "" {
		if u, err := url.Parse(o.Proxy); err == nil { // CheckProxy has read it
			t.Proxy = o.through(u)
		}
	}
	return t
}

// through has a proxy asked, but for hosts that CheckHost refuses: it looks
// names up itself, and connects in our place.
func (o *Options) through(proxy *url.URL) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if !o.AllowLinkLocal {
			if err := CheckHost(r.URL.Hostname()); err != nil {
				return nil, err
			}
		}
		return proxy, nil
	}
}

// CheckProxy tells whether a text is the URL of a proxy, or empty.
func CheckProxy(text string) error {
	u, err := url.Parse(text)
	if err != nil || text != "" && (u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)) {
		return fmt.Errorf("it is no URL of http, https or socks5 such as http://proxy.example.com:3128") // the text may hold a password
	}
	return nil
}
