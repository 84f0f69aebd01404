package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

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
	path, err := socketIn(s.dir)
	if err != nil {
		return nil, err
	}
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

// socketIn returns the path of the socket in a folder. The system takes short ones only, and of others it
// says no more than that they are invalid.
func socketIn(dir string) (string, error) {
	path := filepath.Join(dir, socketName)
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return "", fmt.Errorf("the path of the socket %s has %d bytes, and may have %d: set state.dir, or dir of the sink, to a shorter one", path, len(path), most)
	}
	return path, nil
}

// Admin returns what the command line asks: the machines' side of the API,
// with no one to sign in, and the keeping of keys and lists.
func (s *Sink) Admin() http.Handler {
	as := func(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { next(w, r, operator) }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /decisions", s.listDecisions)
	mux.HandleFunc("DELETE /decisions", as(s.deleteDecisionsMade))
	mux.HandleFunc("DELETE /decisions/{id}", as(s.deleteDecision))
	mux.HandleFunc("POST /alerts", as(s.postAlerts))
	mux.HandleFunc("GET /alerts", as(s.getAlerts))
	mux.HandleFunc("DELETE /alerts", as(s.deleteAlerts))
	mux.HandleFunc("GET /alerts/{id}", as(s.getAlert))
	mux.HandleFunc("DELETE /alerts/{id}", as(s.deleteAlert))

	mux.HandleFunc("GET /bouncers", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Bouncers()) })
	mux.HandleFunc("GET /bouncers/{name}", s.inspectBouncer)
	mux.HandleFunc("PUT /bouncers/{name}", s.putBouncer)
	mux.HandleFunc("POST /bouncers/{name}/rotate", s.rotateBouncer)
	mux.HandleFunc("DELETE /bouncers/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteBouncer(r.PathValue("name")))
	})
	mux.HandleFunc("GET /machines", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Machines()) })
	mux.HandleFunc("GET /machines/{name}", s.inspectMachine)
	mux.HandleFunc("PUT /machines/{name}", s.putMachine)
	mux.HandleFunc("POST /machines/{name}/validate", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.ChangeMachine(r.PathValue("name"), func(m *store.Machine) { m.Valid = true }))
	})
	mux.HandleFunc("DELETE /machines/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteMachine(r.PathValue("name")))
	})
	mux.HandleFunc("GET /blocklists", s.getBlocklists)
	mux.HandleFunc("POST /blocklists/{name}/refresh", s.refreshBlocklist)
	mux.HandleFunc("GET /allowlists", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.store.Allowlists()) })
	mux.HandleFunc("PATCH /allowlists/{name}", s.changeAllowlist)
	mux.HandleFunc("DELETE /allowlists/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.store.DeleteAllowlist(r.PathValue("name")))
	})
	whole := http.NewServeMux()
	whole.Handle("/", s.bounded(mux))
	whole.HandleFunc("POST /decisions/import", s.importDecisions) // which holds little of it at a time
	return s.recovered(whole)
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

// listDecisions shows what is in force, simulated decisions too. The command line
// prints it as it comes, and so may take as long as whoever reads what it prints.
func (s *Sink) listDecisions(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // where there is none, it need not be taken away
	f, err := readFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	made, ok := s.madeWithin(w, r)
	if !ok {
		return
	}
	now := s.store.Now()
	out := newEncoder(w, now)
	out.begin("[")
	s.store.Index().Select(f, now, func(d *decisions.Decision) bool {
		if made(d.Alert) {
			err = out.item(Shown{store.Decided{
				ID: d.ID, UUID: d.UUID.String(), Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value,
				Scenario: d.Scenario, Until: d.Until, Simulated: d.Simulated,
			}, d.Alert})
		}
		return err == nil && out.part()
	})
	out.close(s, err)
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

// ChangedAllowlist says how many items an allow-list has by now, and how many
// decisions it has withdrawn.
type ChangedAllowlist struct {
	Name      string `json:"name"`
	Items     int    `json:"items"`
	Withdrawn int    `json:"withdrawn"`
}

// changeAllowlist is told what becomes other on a list, not what the list
// becomes: several may change it at once.
func (s *Sink) changeAllowlist(w http.ResponseWriter, r *http.Request) {
	var c store.AllowlistChange
	if !decode(w, r, &c) {
		return
	}
	l, n, err := s.store.ChangeAllowlist(r.PathValue("name"), c)
	if err != nil {
		s.done(w, err)
		return
	}
	reply(w, http.StatusOK, ChangedAllowlist{l.Name, len(l.Items), n})
}
