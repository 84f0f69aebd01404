package httpd

import (
	"context"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/sources/intake"
)

// Request is a request whose body is being made into records.
type Request struct {
	HTTP *http.Request
	// ContentType is its content type without parameters, in lower case; "" when it has none.
	ContentType string
	// Client is the name of the key that it was sent with, or of the certificate; "" without either.
	Client string
	// Body is what it holds, decompressed and bounded.
	Body io.Reader
	// Batch gets its records.
	Batch *Batch
	// Labels are laid over the groups' labels. Read may set others; it must not write into the map.
	Labels map[string]string

	source     *Source
	endpoint   *endpoint
	block      bool // the body is a block of snappy
	compressed bool
	key        string    // of the request's own, for repeats
	digest     hash.Hash // of the body as it comes; nil when nobody asks
	ends       []func()
}

func (s *Source) mux() http.Handler {
	mux := http.NewServeMux()
	for _, e := range s.endpoints {
		mux.HandleFunc(e.Pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, e) })
	}
	for _, p := range s.config.HealthPaths {
		mux.HandleFunc(p, s.serveHealth)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok && c != nil {
			c.asked.Store(true)
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			s.refuse(w, r, &Refusal{http.StatusNotFound, "nothing is taken at this path", dropUnknown})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Source) serveHealth(w http.ResponseWriter, r *http.Request) {
	s.deadline(w)
	if s.stopping() || s.in.Full() {
		w.Header().Set("Retry-After", s.retryAfter())
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n") // who has gone away needs no answer
}

func (s *Source) retryAfter() string { return strconv.Itoa(int(s.config.RetryAfter / time.Second)) }

// serve takes a request and answers it.
func (s *Source) serve(w http.ResponseWriter, hr *http.Request, e *endpoint) {
	run, ok := s.enter()
	if !ok {
		s.refuse(w, hr, refusal(errStopping))
		return
	}
	defer s.handlers.Done()
	n, repeat, err := s.take(run, w, hr, e)
	if err != nil {
		if run.Err() != nil {
			if r := refusal(err); r.Status == http.StatusRequestTimeout { // it was not the client that took too long
				err = errStopping
			}
		}
		s.refuse(w, hr, refusal(err))
		return
	}
	if s.full.Load() && s.clock.Now().UnixNano()-s.later.Load() > int64(s.calm) && s.full.CompareAndSwap(true, false) {
		s.log.Info("requests are taken again")
	}
	s.deadline(w)
	if repeat {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	if e.NoContent {
		w.WriteHeader(http.StatusNoContent)
	} else {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"records\":%d}\n", n)
	}
	_ = http.NewResponseController(w).Flush() // before Close may go on
}

func (s *Source) deadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.writeTime)) // by the wall clock, as the network's are
}

// refuse answers a request that is not taken, counts it, and tells of it now and then.
func (s *Source) refuse(w http.ResponseWriter, hr *http.Request, r *Refusal) {
	s.deadline(w)
	h := w.Header()
	switch r.Status {
	case http.StatusUnauthorized:
		s.keys.challenge(h)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "POST, PUT")
	case http.StatusUnsupportedMediaType:
		h.Set("Accept-Encoding", encodings)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", s.retryAfter())
	}
	if hr.ProtoMajor == 1 && (hr.ContentLength < 0 || hr.ContentLength > largeChunk) {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.Status)
	_, _ = io.WriteString(w, r.Text+"\n") // who has gone away needs no answer
	_ = http.NewResponseController(w).Flush()
	if r.why == reasons {
		return
	}
	s.counters.drop(r.why)
	s.tell(hr, r)
}

// tellAgain is how often the log has a word on refusals for one reason.
const tellAgain = 10 * time.Minute

func (s *Source) tell(hr *http.Request, r *Refusal) {
	if r.why == dropLater {
		s.later.Store(s.clock.Now().UnixNano())
		if s.full.CompareAndSwap(false, true) {
			s.log.Warn("requests are told to come later", "reason", r.Text)
		}
		return
	}
	if !s.sayAgain(r.why) {
		return
	}
	s.log.Warn("a request is refused; others for this reason are only counted for a while", "status", r.Status, "path", hr.URL.Path,
		"peer", hr.RemoteAddr, "reason", r.Text)
}

// sayAgain tells whether the log may have a word on a reason.
func (s *Source) sayAgain(why reason) bool {
	now := s.clock.Now().UnixNano()
	last := s.said[why].Load()
	return (last == 0 || now-last >= int64(tellAgain)) && s.said[why].CompareAndSwap(last, now)
}

// take makes records of a request and puts them. It returns how many there
// are, once they are safe, and whether the request had come before.
func (s *Source) take(run context.Context, w http.ResponseWriter, hr *http.Request, e *endpoint) (n int, repeat bool, err error) {
	if hr.Method != http.MethodPost && hr.Method != http.MethodPut {
		return 0, false, &Refusal{http.StatusMethodNotAllowed, "records are sent with POST", dropUnknown}
	}
	client, err := s.admitClient(hr, e)
	if err != nil {
		return 0, false, err
	}
	if s.in.Full() {
		return 0, false, later("the pipeline is full; send the request again")
	}
	r := s.request(hr, e, client)
	defer r.Batch.release()
	if err := r.read(run, w); err != nil {
		return 0, false, err
	}
	n = r.Batch.count
	if err := r.Batch.merge(r.Labels); err != nil {
		return 0, false, err
	}
	repeat, err = s.put(run, r)
	return n, repeat, err
}

func (s *Source) request(hr *http.Request, e *endpoint, client string) *Request {
	r := &Request{HTTP: hr, Client: client, Labels: s.config.Labels, source: s, endpoint: e, Batch: s.newBatch()}
	if kind, _, err := mime.ParseMediaType(hr.Header.Get("Content-Type")); err == nil {
		r.ContentType = kind
	}
	if c, ok := hr.Context().Value(connKey{}).(*conn); ok && c != nil {
		r.Batch.peer = c.peer
	}
	r.block = e.Block != "" && r.ContentType == e.Block
	return r
}

// Decode reads a request as its endpoint, of a number, would, without a server: for
// tests and fuzzing. Its error is a *Refusal. do gets the groups; what they hold is given back when Decode returns.
func (s *Source) Decode(w http.ResponseWriter, hr *http.Request, number int, do func(labels map[string]string, records []pipeline.Record)) error {
	r := s.request(hr, s.endpoints[number], "")
	defer r.Batch.release()
	if err := r.read(context.Background(), w); err != nil {
		return refusal(err)
	}
	if err := r.Batch.merge(r.Labels); err != nil {
		return refusal(err)
	}
	for _, g := range r.Batch.groups {
		do(g.labels, g.records)
	}
	return nil
}

// MaxBody is how large the body may be.
func (r *Request) MaxBody() int { return int(r.source.config.MaxBody) }

// Held is how many bytes of the budget are in use.
func (s *Source) Held() int64 { return s.budget.held.Load() }

// admitClient finds out who sends, and whether he may.
func (s *Source) admitClient(hr *http.Request, e *endpoint) (string, error) {
	client, ok := s.keys.check(hr)
	if !ok {
		return "", &Refusal{http.StatusUnauthorized, "a key is needed, and none that was sent is good", dropKey}
	}
	shown := names(hr.TLS)
	if only := s.config.TLS.ClientNames; len(only) > 0 && !slices.ContainsFunc(shown, func(n string) bool { return slices.Contains(only, n) }) {
		return "", &Refusal{http.StatusForbidden, "the client's certificate has no name that may send", dropNotPermitted}
	}
	if len(e.Clients) > 0 && !slices.Contains(e.Clients, client) &&
		!slices.ContainsFunc(shown, func(n string) bool { return slices.Contains(e.Clients, n) }) {
		return "", &Refusal{http.StatusForbidden, "this client may not send to this path", dropNotPermitted}
	}
	if client == "" && len(shown) > 0 {
		client = shown[0]
	}
	return client, nil
}

// read makes records of the body.
func (r *Request) read(run context.Context, w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	// Whoever is in the middle of a body when the source stops is not waited for.
	stop := context.AfterFunc(run, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		for _, end := range r.ends {
			end()
		}
	}()
	r.keyed()
	if err := r.openBody(w); err != nil {
		return err
	}
	if err := r.endpoint.Read(r); err != nil {
		return err
	}
	return r.drain()
}

// put puts a request's records and waits until they are safe. repeat says that they were before.
func (s *Source) put(run context.Context, r *Request) (repeat bool, err error) {
	groups := r.Batch.groups
	if len(groups) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(r.HTTP.Context(), s.config.Wait)
	defer cancel()
	var k *known
	if id, digest := r.identify(); id != "" {
		if k, err = s.begin(ctx, run, id, digest); err != nil {
			return false, err
		}
		if k.busy == nil {
			s.counters.drop(dropRepeat)
			return true, nil
		}
	}
	p := &pending{source: s, known: k, total: len(groups), answered: make(chan struct{})}
	if k != nil {
		p.from = k.done
	}
	if p.from >= p.total {
		p.from = 0 // the same body is cut otherwise than it was, by another configuration
	}
	if err = s.putAll(ctx, run, r, p); err != nil {
		return false, err
	}
	select {
	case <-p.answered: // which counts also where the time is over
		return false, p.err
	default:
	}
	select {
	case <-p.answered:
		return false, p.err
	case <-ctx.Done():
		if r.HTTP.Context().Err() != nil {
			return false, errGone
		}
		return false, &Refusal{http.StatusServiceUnavailable, "the records were taken and are not safe yet; send the request again", dropLater}
	}
}

// errGone is the end of a request whose client has gone away.
var errGone = &Refusal{http.StatusServiceUnavailable, "the client has gone away", dropEnded}

// begin waits while another request with the same key is under way.
func (s *Source) begin(ctx, run context.Context, id, digest string) (*known, error) {
	for {
		k, wait, err := s.repeats.begin(id, digest)
		if wait == nil {
			return k, err
		}
		select {
		case <-wait:
		case <-run.Done():
			return nil, errStopping
		case <-ctx.Done():
			return nil, later("the same request is under way")
		}
	}
}

// pending counts the acknowledgements of a request's entries. Those that are
// safe are the first ones: an intake that fails an entry fails all behind it.
type pending struct {
	source      *Source
	known       *known
	from, total int // entries that were safe before; entries in all

	mu           sync.Mutex
	safe, failed int // entries
	err          error
	answered     chan struct{} // closed with the last one
}

// acked is the acknowledgement of one entry.
func (p *pending) acked(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.err = err
		p.failed++
	} else {
		p.safe++
	}
	if p.from+p.safe+p.failed < p.total {
		return
	}
	if p.known != nil {
		p.source.repeats.finish(p.known, p.from+p.safe, p.failed == 0)
	}
	close(p.answered)
}

// putAll gives the entries to the intake, one behind the other. Once it
// has begun every entry is acknowledged, be it with an error.
func (s *Source) putAll(ctx, run context.Context, r *Request, p *pending) (err error) {
	groups := r.Batch.groups[p.from:]
	r.Batch.refs.Add(int32(len(groups)))
	put := run // what the pipeline has begun to take is not broken off
	if s.durable {
		put = ctx
	}
	for i, g := range groups {
		if err == nil && !s.durable && i == 0 {
			if err = s.turn(ctx, run, r.endpoint); err == nil {
				defer func() { <-r.endpoint.turn }()
			}
		}
		if err != nil { // the rest fails with the one before
			r.Batch.release()
			p.acked(err)
			continue
		}
		e := intake.Entry{Topic: r.endpoint.Pattern, Labels: g.labels, Records: g.records, Release: r.Batch.release}
		if p.known != nil {
			e.Marks = p.known.marks(p.from+i, p.total)
		}
		err = s.in.Put(put, e, p.acked)
	}
	if err != nil && ctx.Err() != nil && run.Err() == nil {
		if r.HTTP.Context().Err() != nil {
			return errGone
		}
		return later("the pipeline is full; send the request again")
	}
	return err
}

// turn waits for the turn of a path's records, for a while.
func (s *Source) turn(ctx, run context.Context, e *endpoint) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-run.Done():
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
