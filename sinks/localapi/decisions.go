package localapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/store"
)

// readFilter reads the parameters that select decisions. An error is a
// sentence for the client.
func readFilter(q url.Values) (*decisions.Filter, error) {
	f := &decisions.Filter{
		Scope: q.Get("scope"), Value: q.Get("value"), Type: q.Get("type"), Scenario: q.Get("scenario"),
		Scopes: words(q, "scopes"), Origins: words(q, "origins"), Containing: words(q, "scenarios_containing"), NotContaining: words(q, "scenarios_not_containing"),
	}
	if o := q.Get("origin"); o != "" {
		f.Origins = append(f.Origins, o)
	}
	for _, name := range []string{"ip", "range"} {
		if text := q.Get(name); text != "" {
			p, err := parsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if f.Prefix.IsValid() && f.Prefix != p {
				return nil, fmt.Errorf("ask for an ip or for a range, not for both")
			}
			f.Prefix = p
		}
	}
	if scope := decisions.CanonicalScope(f.Scope); f.Value != "" && (scope == decisions.ScopeIP || scope == decisions.ScopeRange) {
		p, err := parsePrefix(f.Value)
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
		f.Prefix, f.Scope, f.Value = p, "", "" // an address is asked for with all that is around it, as by ip
	}
	if text := q.Get("contains"); text != "" {
		around, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("contains: %q is neither true nor false", text)
		}
		f.Within = !around
	}
	return f, nil
}

func words(q url.Values, name string) []string {
	var out []string
	for _, text := range q[name] {
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				out = append(out, word)
			}
		}
	}
	return out
}

// getDecisions implements GET /decisions.
func (s *Sink) getDecisions(w http.ResponseWriter, r *http.Request, b *store.Bouncer) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	f.Enforced = true
	now := s.store.Now()
	out := encoder{now: now}
	out.begin("[")
	s.store.Index().Select(f, now, func(d *decisions.Decision) bool {
		out.decision(d, now)
		return true
	})
	out.end("]")
	s.pulled(r, b, b.Seen)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out.buf) // who has gone away needs no answer
}

// streamDecisions implements GET /decisions/stream. A bouncer that begins, or
// was away for longer than removals are remembered, is told all that is in force.
func (s *Sink) streamDecisions(w http.ResponseWriter, r *http.Request, b *store.Bouncer) {
	q := r.URL.Query()
	f, err := readFilter(q)
	startup := false
	if text := q.Get("startup"); err == nil && text != "" {
		if startup, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("startup: %q is neither true nor false", text)
		}
	}
	dedup := true
	if text := q.Get("dedup"); err == nil && text != "" {
		if dedup, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("dedup: %q is neither true nor false", text)
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	f.Enforced = true
	if len(f.Scopes) == 0 {
		f.Scopes = []string{decisions.ScopeIP, decisions.ScopeRange}
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return // it is told nothing, and so knows nothing
	}
	if !startup && b.Seen > 0 {
		if added, removed, last, known := s.store.Index().Delta(b.Seen, f, s.store.Now(), dedup); known {
			s.writeDelta(w, r, b, added, removed, last)
			return
		}
	}
	s.writeAll(w, r, b, f, dedup)
}

func (s *Sink) writeDelta(w http.ResponseWriter, r *http.Request, b *store.Bouncer, added, removed []decisions.Decision, last int64) {
	now := s.store.Now()
	out := encoder{now: now}
	out.begin(`{"deleted":[`)
	for i := range removed {
		out.decision(&removed[i], now)
	}
	out.end("]")
	out.begin(`,"new":[`)
	for i := range added {
		out.decision(&added[i], now)
	}
	out.end("]}")
	if _, err := w.Write(out.buf); err == nil {
		s.pulled(r, b, last)
	}
}

// writeAll writes all that is in force, a page at a time.
func (s *Sink) writeAll(w http.ResponseWriter, r *http.Request, b *store.Bouncer, f *decisions.Filter, dedup bool) {
	now := s.store.Now()
	out := encoder{now: now}
	out.begin(`{"deleted":[],"new":[`)
	seq, err := s.store.Index().Startup(f, now, dedup, func(page []decisions.Decision) error {
		for i := range page {
			out.decision(&page[i], now)
		}
		_, err := w.Write(out.buf)
		out.buf = out.buf[:0]
		return err
	})
	if err != nil {
		return // it has gone away: what it was told counts for nothing
	}
	out.end("]}")
	if _, err := w.Write(out.buf); err == nil {
		s.pulled(r, b, seq)
	}
}

// pulled notes that a bouncer asked, and up to which change it knows.
func (s *Sink) pulled(r *http.Request, b *store.Bouncer, seen int64) {
	kind, version, _ := strings.Cut(agent(r), "/")
	err := s.store.Pulled(b.Name, func(b *store.Bouncer) {
		b.LastPull, b.Address, b.Seen, b.Kind, b.Version = s.store.Now().UTC(), s.client(r).String(), seen, kind, version
	})
	if err != nil {
		s.log.Error("it could not be written down what a bouncer knows", "bouncer", b.Name, "error", err)
	}
}

// deleteDecisions implements DELETE /decisions.
func (s *Sink) deleteDecisions(w http.ResponseWriter, r *http.Request, _ string) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if f.Prefix.IsValid() && r.URL.Query().Get("contains") == "" {
		f.Within = true // what is deleted lies in what was named, not around it
	}
	n, err := s.store.Delete(f)
	if err != nil {
		s.broken(w, err)
		return
	}
	deleted(w, n)
}

func deleted(w http.ResponseWriter, n int) {
	text := strconv.Itoa(n)
	reply(w, http.StatusOK, lapi.DeleteDecisionResponse{NbDeleted: &text})
}

// deleteDecision implements DELETE /decisions/{id}.
func (s *Sink) deleteDecision(w http.ResponseWriter, r *http.Request, _ string) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	n := 0
	if err == nil && id > 0 {
		if n, err = s.store.Delete(&decisions.Filter{ID: id}); err != nil {
			s.broken(w, err)
			return
		}
	}
	if n == 0 {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no decision %q in force", r.PathValue("id")))
		return
	}
	deleted(w, n)
}

// encoder writes decisions as the API shows them, without reflection: a
// bouncer that begins gets a million of them.
type encoder struct {
	buf  []byte
	now  time.Time
	some bool
}

func (e *encoder) begin(text string) { e.buf, e.some = append(e.buf, text...), false }
func (e *encoder) end(text string)   { e.buf = append(e.buf, text...) }

func (e *encoder) decision(d *decisions.Decision, now time.Time) {
	if e.some {
		e.buf = append(e.buf, ',')
	}
	e.some = true
	e.buf = append(e.buf, `{"id":`...)
	e.buf = strconv.AppendInt(e.buf, d.ID, 10)
	for _, f := range [...]struct{ name, value string }{
		{`,"uuid":`, d.UUID.String()}, {`,"origin":`, d.Origin}, {`,"type":`, d.Type}, {`,"scope":`, d.Scope}, {`,"value":`, d.Value},
		{`,"scenario":`, d.Scenario}, {`,"duration":`, d.Until.Sub(now).String()},
	} {
		e.buf = appendText(append(e.buf, f.name...), f.value)
	}
	if d.Simulated {
		e.buf = append(e.buf, `,"simulated":true`...)
	}
	e.buf = append(e.buf, '}')
}

// appendText writes a text as JSON.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			var out bytes.Buffer
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s) // a text always has JSON
			return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// addressIn returns the address that a reverse proxy asks about.
func (s *Sink) addressIn(r *http.Request) (netip.Addr, bool) {
	if name := s.config.Verdict.AddressHeader; name != "" {
		a, err := netip.ParseAddr(strings.TrimSpace(r.Header.Get(name)))
		return a.Unmap().WithZone(""), err == nil
	}
	if text := r.URL.Query().Get("ip"); text != "" {
		a, err := netip.ParseAddr(text)
		return a.Unmap().WithZone(""), err == nil
	}
	return s.client(r), true
}
