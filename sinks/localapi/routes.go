package localapi

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/klauspost/compress/gzhttp"

	"sluice/pipeline/lapi"
)

// route is a pattern of http.ServeMux and who answers it.
type route struct {
	pattern string
	handler http.HandlerFunc
}

// routes are all that Handler serves, but for verdicts. openapi.yaml describes each.
func (s *Sink) routes() []route {
	return []route{
		{"GET /health", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, map[string]string{"status": "up"})
		}},
		{"GET /openapi.yaml", describe},

		{"POST /v1/watchers", s.register},
		{"POST /v1/watchers/login", s.login},
		{"GET /v1/refresh_token", s.machine(s.refresh)},
		{"DELETE /v1/watchers/self", s.machine(s.deleteSelf)},
		{"GET /v1/heartbeat", s.machine(s.heartbeat)},

		{"GET /v1/decisions", s.bouncer(s.getDecisions)},
		{"GET /v1/decisions/stream", s.bouncer(s.streamDecisions)},
		{"DELETE /v1/decisions", s.machine(s.deleteDecisions)},
		{"DELETE /v1/decisions/{id}", s.machine(s.deleteDecision)},

		{"POST /v1/alerts", s.machine(s.postAlerts)},
		{"GET /v1/alerts", s.machine(s.getAlerts)},
		{"DELETE /v1/alerts", s.machine(s.deleteAlerts)},
		{"GET /v1/alerts/{id}", s.machine(s.getAlert)},
		{"DELETE /v1/alerts/{id}", s.machine(s.deleteAlert)},

		{"GET /v1/allowlists", s.machine(s.getAllowlists)},
		{"GET /v1/allowlists/{name}", s.machine(s.getAllowlist)},
		{"GET /v1/allowlists/check/{target...}", s.machine(s.checkAllowlist)},
		{"POST /v1/allowlists/check", s.machine(s.checkAllowlists)},

		{"POST /v1/usage-metrics", s.usageMetrics},
	}
}

// Handler returns the whole API.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.pattern, r.handler)
	}
	api := compressed(s.bounded(mux))
	return s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asksVerdict(r) { // its path, method, headers and body can be those of anyone: none may mislead it
			s.verdict(w, r)
			return
		}
		if h, pattern := mux.Handler(r); pattern == "" {
			unserved(h, w, r)
			return
		}
		api.ServeHTTP(w, r)
	}))
}

// compressed answers in gzip to those who take it, as quickly as it can be had: a bouncer's start
// with a million decisions, which is JSON that repeats itself, takes longer to pack than to write.
func compressed(h http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(fmt.Sprintf("localapi: gzip: %v", err)) // a level that the library does not know
	}
	return wrap(h)
}

// unserved answers what no route is there for, in the form of all errors.
// plain is the multiplexer's own answer, which has the status and what is allowed.
func unserved(plain http.Handler, w http.ResponseWriter, r *http.Request) {
	p := &silent{header: make(http.Header)}
	plain.ServeHTTP(p, r)
	if allow := p.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		fail(w, p.status, fmt.Sprintf("%s is not for this path, but %s", r.Method, allow))
		return
	}
	fail(w, p.status, "nothing is served there")
}

// silent keeps what an answer says of itself.
type silent struct {
	header http.Header
	status int
}

func (p *silent) Header() http.Header         { return p.header }
func (p *silent) WriteHeader(status int)      { p.status = status }
func (p *silent) Write(b []byte) (int, error) { return len(b), nil }

// recovered keeps what panics in one request away from all others.
func (s *Sink) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler {
				panic(p) // the server cuts the connection, and says nothing
			}
			if p != nil {
				s.log.Error("a request failed in a way that nobody thought of", "method", r.Method, "path", r.URL.Path, "panic", p)
				fail(w, http.StatusInternalServerError, "internal error")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// bounded limits what a request's body may hold, compressed or not.
func (s *Sink) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// readBody reads a body; an error is answered and false returned.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	text, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
		return nil, false
	case err != nil:
		fail(w, http.StatusBadRequest, "the body cannot be read")
		return nil, false
	}
	return text, true
}

// decode reads a body; an error is answered and false returned.
func decode(w http.ResponseWriter, r *http.Request, to any) bool {
	text, ok := readBody(w, r)
	if !ok {
		return false
	}
	if err := json.Unmarshal(text, to); err != nil {
		fail(w, http.StatusBadRequest, "the body is not what is expected: "+err.Error())
		return false
	}
	return true
}
