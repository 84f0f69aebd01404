package localapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run serves until ctx is done, and takes decisions out of force when they end.
func (s *Sink) Run(ctx context.Context) error {
	if err := s.Open(); err != nil {
		return err
	}
	config, err := s.config.TLS.server(s.log)
	if err != nil {
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	var listeners []net.Listener
	for _, at := range s.config.Listen {
		l, err := listen(ctx, at, config)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return fmt.Errorf("sink %s: listening on %s: %w", s.name, at, err)
		}
		listeners = append(listeners, l)
	}
	admin, err := s.listenAdmin(ctx)
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return fmt.Errorf("sink %s: listening for the command line: %w", s.name, err)
	}
	server, own := s.newServer(ctx, s.Handler()), s.newServer(ctx, s.Admin())
	all, inner := errgroup.WithContext(ctx)
	serve := func(server *http.Server, l net.Listener) {
		all.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("sink %s: serving: %w", s.name, err)
			}
			return nil
		})
	}
	serve(own, admin)
	for _, l := range listeners {
		s.log.Info("the local API is served", "address", l.Addr().String(), "tls", config != nil)
		serve(server, l)
	}
	all.Go(func() error { return s.store.Run(inner, s.env.After) })
	s.withdrawAllowed() // the configuration's lists may be others than before
	all.Go(func() error { return s.runLists(inner) })
	all.Go(func() error {
		<-inner.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for _, server := range []*http.Server{server, own} {
			if err := server.Shutdown(ending); err != nil {
				_ = server.Close() // who has not got an answer by now gets none
			}
		}
		return nil
	})
	return all.Wait()
}

func (s *Sink) newServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
}

func listen(ctx context.Context, at string, config *tls.Config) (l net.Listener, err error) {
	var lc net.ListenConfig
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		if err := removeSocket(path); err != nil {
			return nil, err
		}
		return lc.Listen(ctx, "unix", path) // who may use it is told by its folder's permissions
	}
	if l, err = lc.Listen(ctx, "tcp", at); err != nil || config == nil {
		return l, err
	}
	return tls.NewListener(l, config), nil
}

// removeSocket removes a socket that a crash left behind, and nothing else that a mistaken path may name.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	return os.Remove(path)
}

// server returns the server's configuration, nil without encryption.
func (c *TLS) server(log *slog.Logger) (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	p := &pair{config: c, log: log}
	if err := p.read(); err != nil {
		return nil, err
	}
	out := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current(), nil },
	}
	if c.ClientCAFile != "" {
		text, err := os.ReadFile(c.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca_file: %w", err)
		}
		out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !out.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls.client_ca_file: %s holds no certificate in PEM", c.ClientCAFile)
		}
	}
	return out, nil
}

// pair is the server's certificate and key. They are read for every connection,
// so that a new one counts at once. While it cannot be read, such as between its
// two files or when the key is not for our eyes, the one before it is served.
type pair struct {
	config *TLS
	log    *slog.Logger
	mu     sync.Mutex
	good   tls.Certificate
	said   string // of what is wrong
}

func (p *pair) read() error {
	read, err := tls.LoadX509KeyPair(p.config.CertFile, p.config.KeyFile)
	if err != nil {
		return fmt.Errorf("tls.cert_file and key_file: %w", err)
	}
	p.good, p.said = read, ""
	return nil
}

func (p *pair) current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.read(); err != nil && err.Error() != p.said {
		p.said = err.Error()
		p.log.Error("the certificate cannot be read again: the one before it is served until it can", "error", err)
	}
	good := p.good // which may be another by the time that it is used
	return &good
}

// client returns the address of who asks: what a trusted proxy says, or the
// connection's own.
func (s *Sink) client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Unspecified() // of a socket
	}
	a := at.Addr().Unmap().WithZone("")
	if len(s.proxies) == 0 || !contains(s.proxies, a) {
		return a
	}
	// A proxy adds to the header that it got, or a header of its own behind it.
	forwarded := r.Header.Values("X-Forwarded-For")
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- { // the last that no proxy of ours has written
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		if a = hop; !contains(s.proxies, a) {
			return a
		}
	}
	if real, ok := parseHop(r.Header.Get("X-Real-IP")); ok && len(forwarded) == 0 {
		return real
	}
	return a
}

// parseHop reads an address as proxies write it, some with the port behind it.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var at netip.AddrPort
		at, err = netip.ParseAddrPort(text)
		a = at.Addr()
	}
	return a.Unmap().WithZone(""), err == nil
}
