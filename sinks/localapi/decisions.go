package localapi

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
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
		if text, ok := given(q, name); ok {
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
	around, err := truth(q, "contains", true)
	f.Within = !around
	return f, err
}

// given returns a parameter. One that is there and empty counts: who asks
// about no address at all must not be taken to ask about every one.
func given(q url.Values, name string) (text string, ok bool) {
	if len(q[name]) == 0 {
		return "", false
	}
	return q[name][0], true
}

// truth reads a parameter that is true or false.
func truth(q url.Values, name string, otherwise bool) (bool, error) {
	text, ok := given(q, name)
	if !ok {
		return otherwise, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		err = fmt.Errorf("%s: %q is neither true nor false", name, text)
	}
	return value, err
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
	s.asked(r, b, func(*store.Bouncer) {})
	now := s.store.Now()
	out := newEncoder(w, now)
	out.begin("[")
	s.store.Index().Select(f, now, func(d *decisions.Decision) bool {
		out.decision(d)
		return out.part()
	})
	if !out.some {
		// As in CrowdSec: its bouncer in nginx takes this alone for nothing, and fails on an empty list.
		reply(w, http.StatusOK, nil)
		return
	}
	out.close(s, nil)
}

// streamDecisions implements GET /decisions/stream. A bouncer that begins, or
// was away for longer than removals are remembered, is told all that is in force.
func (s *Sink) streamDecisions(w http.ResponseWriter, r *http.Request, b *store.Bouncer) {
	q := r.URL.Query()
	f, err := readFilter(q)
	startup, wrongStartup := truth(q, "startup", false)
	dedup, wrongDedup := truth(q, "dedup", true)
	if err := cmp.Or(err, wrongStartup, wrongDedup); err != nil {
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
	if err := s.store.Begins(b.Name); err != nil {
		s.broken(w, err)
		return
	}
	x, now := s.store.Index(), s.store.Now()
	if startup {
		since := b.Sure // whether the last answer counted, when the bouncer was killed after it, nobody knows
		if b.Seen == 0 {
			since = unsure(b)
		}
		s.writeAll(w, r, b, f, dedup, since)
		return
	}
	if b.Seen > 0 && x.Seq()-b.Seen > farBehind {
		s.writeAll(w, r, b, f, dedup, b.Seen) // where that is in doubt, it is no more than what is sure
		return
	}
	delta := x.Delta
	if b.Doubt {
		delta = x.DeltaInDoubt
	}
	if b.Seen > 0 {
		if added, removed, last, known := delta(b.Seen, f, now, dedup); known {
			place := b.Place
			if dedup {
				var more []decisions.Decision
				if more, place, known = x.Again(b.Place, b.Told.Add(-againSlack), b.Seen, f, now, farBehind); !known {
					s.writeAll(w, r, b, f, dedup, b.Seen)
					return
				}
				added = withMore(added, more)
			}
			s.writeDelta(w, r, b, added, removed, last, place)
			return
		}
	}
	s.writeAll(w, r, b, f, dedup, unsure(b))
}

// unsure is since when a bouncer is to be told what is gone of which nothing is
// known but that it may have got an answer.
func unsure(b *store.Bouncer) int64 {
	if b.First == 0 {
		return nothing
	}
	return b.First - 1
}

// againSlack is how late it may be noticed that a decision has ended: after a
// restart it is by times that it is known what a bouncer was told again.
const againSlack = time.Minute

// withMore appends to some decisions those of more that are not among them.
func withMore(ds, more []decisions.Decision) []decisions.Decision {
	if len(more) == 0 {
		return ds
	}
	there := make(map[int64]bool, len(ds))
	for i := range ds {
		there[ds[i].ID] = true
	}
	for i := range more {
		if !there[more[i].ID] {
			ds = append(ds, more[i])
		}
	}
	return ds
}

// nothing is where a bouncer stands that is not to be told of what is gone.
const nothing = -1

// farBehind is how many changes are told as such. Of more, as after the import
// of a long list, a bouncer is told what is gone and all that is in force, a
// page at a time: to know again what it knows does it no harm.
const farBehind = 100_000

func (s *Sink) writeDelta(w http.ResponseWriter, r *http.Request, b *store.Bouncer, added, removed []decisions.Decision, last, place int64) {
	out := newEncoder(w, s.store.Now())
	out.begin(`{"deleted":[`)
	for i := range removed {
		out.decision(&removed[i])
	}
	out.end("]")
	out.begin(`,"new":[`)
	for i := range added {
		out.decision(&added[i])
	}
	out.end("]}")
	if out.flush() == nil {
		s.pulled(r, b, last, place)
	}
}

// writeAll writes all that is in force, a page at a time, and what is gone
// since a number: a bouncer that was killed may have left it in a firewall.
func (s *Sink) writeAll(w http.ResponseWriter, r *http.Request, b *store.Bouncer, f *decisions.Filter, dedup bool, since int64) {
	now, place := s.store.Now(), s.store.Index().AgainPlace()
	out := newEncoder(w, now)
	write := func(page []decisions.Decision) error {
		for i := range page {
			out.decision(&page[i])
		}
		return out.flush()
	}
	out.begin(`{"deleted":[`)
	if since != nothing {
		if s.store.Index().Gone(since, f, now, dedup, write) != nil {
			return
		}
	}
	out.end("]")
	out.begin(`,"new":[`)
	seq, err := s.store.Index().Startup(f, now, dedup, write)
	if err != nil {
		return // it has gone away: what it was told counts for nothing
	}
	out.end("]}")
	if out.flush() == nil {
		s.pulled(r, b, seq, place)
	}
}

// pulled notes up to which change a bouncer was told, and which place. One that
// has gone away by now, tired of waiting, may have got the answer or not: it is
// told again. Who goes is noticed by another goroutine, which began with this
// request and is to have its turn: after a stall, of the disk or of the whole
// machine, the request and the end of its connection are found together.
func (s *Sink) pulled(r *http.Request, b *store.Bouncer, seen, place int64) {
	s.asked(r, b, func(*store.Bouncer) {}) // which may last, and takes for sure what was told before
	runtime.Gosched()
	s.asked(r, b, func(b *store.Bouncer) {
		if r.Context().Err() != nil {
			b.Doubt = true
			return
		}
		b.Seen, b.Place, b.Doubt, b.Told = seen, place, false, b.LastPull
	})
}

// asked notes that a bouncer asked.
func (s *Sink) asked(r *http.Request, b *store.Bouncer, told func(*store.Bouncer)) {
	kind, version, _ := strings.Cut(agent(r), "/")
	err := s.store.Pulled(b.Name, func(b *store.Bouncer) {
		b.LastPull, b.Address, b.Kind, b.Version = s.store.Now().UTC(), s.client(r).String(), kind, version
		told(b)
	})
	if err != nil {
		s.log.Error("it could not be written down what a bouncer knows", "bouncer", b.Name, "error", err)
	}
}

// narrows tells what is wrong with the query of a deletion. Where nothing is
// selected all go: a parameter that is not known, since it is misspelt or that of
// a newer client, or that is empty, must not come to that.
func narrows(r *http.Request, known ...string) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("nothing is deleted, since the query cannot be read: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case !slices.Contains(known, name):
			return fmt.Errorf("nothing is deleted, since %q selects nothing; it can be one of %s", name, strings.Join(known, ", "))
		case slices.Contains(q[name], ""):
			return fmt.Errorf("nothing is deleted, since %s is empty", name)
		}
	}
	return nil
}

// deletes reads the parameters of a deletion of decisions, and more beside them.
func deletes(r *http.Request, more ...string) (*decisions.Filter, error) {
	known := []string{"ip", "range", "scope", "scopes", "value", "type", "scenario", "scenarios_containing", "scenarios_not_containing", "origin", "origins", "contains"}
	if err := narrows(r, append(known, more...)...); err != nil {
		return nil, err
	}
	return readFilter(r.URL.Query())
}

// deleteDecisions implements DELETE /decisions.
func (s *Sink) deleteDecisions(w http.ResponseWriter, r *http.Request, _ string) {
	f, err := deletes(r)
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
