package localapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sluice/pipeline/decisions"
	"sluice/sinks/localapi/store"
)

// Blocklist shows a block list to people.
type Blocklist struct {
	Name string `json:"name"`
	// From is where it is read, without what may be secret in it.
	From string `json:"from"`
	// InForce are its decisions now; of the list's Items when it was read last, Allowed were left out
	// for allow-lists. Malformed lines were no items.
	InForce   int `json:"in_force"`
	Items     int `json:"items"`
	Allowed   int `json:"allowed"`
	Malformed int `json:"malformed"`
	// LastSuccess is when it was read last, LastChange when it was another then, LastTry when it was asked for, Next when it will be.
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastChange  time.Time `json:"last_change,omitzero"`
	LastTry     time.Time `json:"last_try,omitzero"`
	Next        time.Time `json:"next,omitzero"`
	// LastError is why the last try failed; empty when it did not.
	LastError string `json:"last_error,omitempty"`
}

// getBlocklists shows all lists.
func (s *Sink) getBlocklists(w http.ResponseWriter, _ *http.Request) {
	out := []Blocklist{}
	for _, l := range s.lists {
		err := l.known(s.store)
		state, next := l.see()
		b := Blocklist{
			Name: l.config.Name, From: l.config.Where(), Items: state.Items, Allowed: state.Allowed, Malformed: state.Malformed,
			LastSuccess: state.LastSuccess, LastChange: state.LastChange, LastTry: state.LastTry, Next: next, LastError: state.LastError,
		}
		if err != nil {
			s.broken(w, err)
			return
		}
		s.store.Listed(b.Name, func(*decisions.Decision) { b.InForce++ })
		out = append(out, b)
	}
	reply(w, http.StatusOK, out)
}

// refreshBlocklist reads a list at once, and answers what came of it.
func (s *Sink) refreshBlocklist(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	i := slices.IndexFunc(s.lists, func(l *list) bool { return l.config.Name == name })
	if i < 0 {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no block list %q in the configuration", name))
		return
	}
	force, _ := strconv.ParseBool(r.URL.Query().Get("force")) // what is neither is false
	out, err := s.refreshList(r.Context(), s.lists[i], force)
	select {
	case s.lists[i].wake <- struct{}{}:
	default: // it is to wake up already
	}
	if err != nil {
		fail(w, http.StatusBadGateway, fmt.Sprintf("%s: %v", name, err))
		return
	}
	reply(w, http.StatusOK, out)
}

// known has the state loaded where nobody reads the list, as when no pipeline runs.
func (l *list) known(st *store.Store) error {
	if !l.reading.TryLock() {
		return nil // whoever reads it has loaded it
	}
	defer l.reading.Unlock()
	return l.load(st)
}
