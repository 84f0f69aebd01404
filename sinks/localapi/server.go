package localapi

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline/lapi"
)

// Run serves until ctx is done, and takes decisions out of force when they end.
func (s *Sink) Run(ctx context.Context) error {
	if err := s.Open(); err != nil {
		return err
	}
	config, err := s.config.TLS.server()
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
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return lc.Listen(ctx, "unix", path) // who may use it is told by its folder's permissions
	}
	if l, err = lc.Listen(ctx, "tcp", at); err != nil || config == nil {
		return l, err
	}
	return tls.NewListener(l, config), nil
}

// server returns the server's configuration, nil without encryption.
func (c *TLS) server() (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file and key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	out := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
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

// Handler returns the whole API.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "up"})
	})
	mux.HandleFunc("GET /v1/verdict", s.verdict)

	mux.HandleFunc("POST /v1/watchers", s.register)
	mux.HandleFunc("POST /v1/watchers/login", s.login)
	mux.HandleFunc("GET /v1/refresh_token", s.machine(s.refresh))
	mux.HandleFunc("DELETE /v1/watchers/self", s.machine(s.deleteSelf))
	mux.HandleFunc("GET /v1/heartbeat", s.machine(s.heartbeat))

	mux.HandleFunc("GET /v1/decisions", s.bouncer(s.getDecisions))
	mux.HandleFunc("GET /v1/decisions/stream", s.bouncer(s.streamDecisions))
	mux.HandleFunc("DELETE /v1/decisions", s.machine(s.deleteDecisions))
	mux.HandleFunc("DELETE /v1/decisions/{id}", s.machine(s.deleteDecision))

	mux.HandleFunc("POST /v1/alerts", s.machine(s.postAlerts))
	mux.HandleFunc("GET /v1/alerts", s.machine(s.getAlerts))
	mux.HandleFunc("DELETE /v1/alerts", s.machine(s.deleteAlerts))
	mux.HandleFunc("GET /v1/alerts/{id}", s.machine(s.getAlert))
	mux.HandleFunc("DELETE /v1/alerts/{id}", s.machine(s.deleteAlert))

	mux.HandleFunc("GET /v1/allowlists", s.machine(s.getAllowlists))
	mux.HandleFunc("GET /v1/allowlists/{name}", s.machine(s.getAllowlist))
	mux.HandleFunc("GET /v1/allowlists/check/{target...}", s.machine(s.checkAllowlist))
	mux.HandleFunc("POST /v1/allowlists/check", s.machine(s.checkAllowlists))

	mux.HandleFunc("POST /v1/usage-metrics", s.usageMetrics)
	return gzhttp.GzipHandler(s.bounded(mux))
}

// bounded limits what a request's body may hold, compressed or not, and keeps
// what panics in one request away from all others.
func (s *Sink) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				s.log.Error("a request failed in a way that nobody thought of", "method", r.Method, "path", r.URL.Path, "panic", p)
				fail(w, http.StatusInternalServerError, "internal error")
			}
		}()
		limit := int64(s.config.MaxBody)
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		if r.Header.Get("Content-Encoding") == "gzip" {
			plain, err := gzip.NewReader(r.Body)
			if err != nil {
				fail(w, http.StatusBadRequest, "the body is no gzip")
				return
			}
			r.Body = http.MaxBytesReader(w, plain, limit)
		}
		next.ServeHTTP(w, r)
	})
}

// reply writes an answer in JSON.
func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		fail(w, http.StatusInternalServerError, "the answer has no JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // who has gone away needs no answer
}

// fail writes an error as the specification has it.
func fail(w http.ResponseWriter, status int, message string) {
	reply(w, status, lapi.ErrorResponse{Message: message})
}

// broken answers that the store failed: the log says why, the client does not learn it.
func (s *Sink) broken(w http.ResponseWriter, err error) {
	s.log.Error("a request could not be answered", "error", err)
	fail(w, http.StatusInternalServerError, "the store of decisions has failed; see the server's log")
}

// decode reads a body; an error is answered and false returned.
func decode(w http.ResponseWriter, r *http.Request, to any) bool {
	text, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
		return false
	case err != nil:
		fail(w, http.StatusBadRequest, "the body cannot be read")
		return false
	}
	if err := json.Unmarshal(text, to); err != nil {
		fail(w, http.StatusBadRequest, "the body is not what is expected: "+err.Error())
		return false
	}
	return true
}

// client returns the address of who asks: what a trusted proxy says, or the
// connection's own.
func (s *Sink) client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Unspecified() // of a socket
	}
	a := at.Addr().Unmap().WithZone("")
	if !contains(s.proxies, a) {
		return a
	}
	hops := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	for i := len(hops) - 1; i >= 0; i-- { // the last that no proxy of ours has written
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if a = hop.Unmap().WithZone(""); !contains(s.proxies, a) {
			return a
		}
	}
	if real, err := netip.ParseAddr(r.Header.Get("X-Real-IP")); err == nil {
		return real.Unmap().WithZone("")
	}
	return a
}
