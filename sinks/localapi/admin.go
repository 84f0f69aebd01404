package localapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"sluice/pipeline/decisions"
	"sluice/sinks/localapi/store"
)

// socketName is the socket, in the store's folder, on which a running server
// answers the command line. Who may open the folder may do everything.
const socketName = "admin.sock"

// operator is the machine that the command line's alerts come from.
const operator = "sluice"

// listenAdmin opens the socket, in place of one that a crash left behind: the
// store is ours alone, and so nobody else listens.
func (s *Sink) listenAdmin(ctx context.Context) (net.Listener, error) {
	path := filepath.Join(s.dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// Admin returns what the command line asks: the machines' side of the API,
// with no one to sign in, and the keeping of keys and lists.
func (s *Sink) Admin() http.Handler {
	as := func(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { next(w, r, operator) }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /decisions", s.listDecisions)
	mux.HandleFunc("DELETE /decisions", as(s.deleteDecisions))
	mux.HandleFunc("DELETE /decisions/{id}", as(s.deleteDecision))
	mux.HandleFunc("POST /alerts", as(s.postAlerts))
	mux.HandleFunc("GET /alerts", as(s.getAlerts))
	mux.HandleFunc("DELETE /alerts", as(s.deleteAlerts))
	mux.HandleFunc("GET /alerts/{id}", as(s.getAlert))
	mux.HandleFunc("DELETE /alerts/{id}", as(s.deleteAlert))

	mux.HandleFunc("GET /bouncers", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Bouncers()) })
	mux.HandleFunc("PUT /bouncers/{name}", s.putBouncer)
	mux.HandleFunc("POST /bouncers/{name}/rotate", s.rotateBouncer)
	mux.HandleFunc("DELETE /bouncers/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteBouncer(r.PathValue("name")))
	})
	mux.HandleFunc("GET /machines", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Machines()) })
	mux.HandleFunc("PUT /machines/{name}", s.putMachine)
	mux.HandleFunc("POST /machines/{name}/validate", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.ChangeMachine(r.PathValue("name"), func(m *store.Machine) { m.Valid = true }))
	})
	mux.HandleFunc("DELETE /machines/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteMachine(r.PathValue("name")))
	})
	mux.HandleFunc("GET /allowlists", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Allowlists()) })
	mux.HandleFunc("PUT /allowlists/{name}", s.putAllowlist)
	mux.HandleFunc("DELETE /allowlists/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteAllowlist(r.PathValue("name")))
	})
	return s.bounded(mux)
}

// done answers a change that has nothing to show.
func (s *Sink) done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, store.ErrUnknown):
		fail(w, http.StatusNotFound, err.Error())
	case errors.Is(err, store.ErrExists):
		fail(w, http.StatusConflict, err.Error())
	default:
		fail(w, http.StatusBadRequest, err.Error())
	}
}

// Shown is a decision in force, for people.
type Shown struct {
	store.Decided
	Alert int64 `json:"alert"`
}

// listDecisions shows what is in force, simulated decisions too.
func (s *Sink) listDecisions(w http.ResponseWriter, r *http.Request) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	out := []Shown{}
	s.store.Index().Select(f, s.store.Now(), func(d *decisions.Decision) bool {
		out = append(out, Shown{store.Decided{
			ID: d.ID, UUID: d.UUID.String(), Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value,
			Scenario: d.Scenario, Until: d.Until, Simulated: d.Simulated,
		}, d.Alert})
		return true
	})
	reply(w, http.StatusOK, out)
}

// NewBouncer asks for a bouncer; an empty key for a random one. The answer has the key.
type NewBouncer struct {
	Key string `json:"key"`
}

func (s *Sink) putBouncer(w http.ResponseWriter, r *http.Request) {
	var body NewBouncer
	if !decode(w, r, &body) {
		return
	}
	key, err := s.store.AddBouncer(r.PathValue("name"), body.Key)
	if err != nil {
		s.done(w, err)
		return
	}
	reply(w, http.StatusCreated, NewBouncer{key})
}

func (s *Sink) rotateBouncer(w http.ResponseWriter, r *http.Request) {
	key, err := s.store.RotateBouncer(r.PathValue("name"))
	if err != nil {
		s.done(w, err)
		return
	}
	reply(w, http.StatusOK, NewBouncer{key})
}

// NewMachine asks for a machine; an empty password for a random one. The answer has the password.
type NewMachine struct {
	Password string `json:"password"`
}

func (s *Sink) putMachine(w http.ResponseWriter, r *http.Request) {
	var body NewMachine
	if !decode(w, r, &body) {
		return
	}
	if body.Password == "" {
		body.Password = store.NewKey()
	}
	if err := s.store.AddMachine(r.PathValue("name"), body.Password, true); err != nil {
		s.done(w, err)
		return
	}
	reply(w, http.StatusCreated, body)
}

// Withdrawn says how many decisions an allow-list has withdrawn.
type Withdrawn struct {
	Withdrawn int `json:"withdrawn"`
}

func (s *Sink) putAllowlist(w http.ResponseWriter, r *http.Request) {
	var l store.Allowlist
	if !decode(w, r, &l) {
		return
	}
	l.Name = r.PathValue("name")
	n, err := s.store.SetAllowlist(l)
	if err != nil {
		s.done(w, err)
		return
	}
	reply(w, http.StatusOK, Withdrawn{n})
}
