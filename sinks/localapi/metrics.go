package localapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/store"
)

// usageMetrics implements POST /usage-metrics, for bouncers and machines: what
// each reported last is kept. The command line lists a little of it and shows it whole.
func (s *Sink) usageMetrics(w http.ResponseWriter, r *http.Request) {
	var put func(store.Reported, []byte) error
	if r.Header.Get("Authorization") != "" {
		s.machine(func(_ http.ResponseWriter, _ *http.Request, machine string) {
			put = func(told store.Reported, report []byte) error { return s.store.PutMachineReport(machine, told, report) }
		})(w, r)
	} else if b, ok := s.admitBouncer(w, r); ok {
		put = func(told store.Reported, report []byte) error { return s.store.PutBouncerReport(b.Name, told, report) }
	}
	if put == nil {
		return // it has been answered
	}
	var body lapi.AllMetrics
	r.Body = http.MaxBytesReader(w, r.Body, store.MaxReport)
	if !s.decodeAs(w, r, "Metrics", &body) {
		return
	}
	var told store.Reported
	text, err := json.Marshal(body)
	if err == nil {
		told, err = s.reported(text)
	}
	if err == nil {
		err = put(told, text)
	}
	switch {
	case errors.Is(err, store.ErrTooLarge):
		fail(w, refusal(err), err.Error())
		return
	case err != nil && !errors.Is(err, store.ErrUnknown): // who has just been deleted has nobody to tell
		s.broken(w, err)
		return
	}
	reply(w, http.StatusOK, lapi.SuccessResponse{Message: "ok"})
}

// reported returns what lists show of a report that comes now.
func (s *Sink) reported(report []byte) (store.Reported, error) {
	told := store.Reported{At: s.store.Now().UTC()}
	all, err := Components(report)
	if len(all) > 0 {
		told.Type, told.Version, told.OS = cut(all[0].Type), cut(all[0].Version), cut(all[0].System())
	}
	return told, err
}

// Component is one program of a report, of whichever kind: what the published
// specification has of a bouncer, of an engine, and of a local API.
type Component struct {
	Type string `json:"type"` // of bouncers
	lapi.BaseMetrics
	// HubItems and Datasources are an engine's: what it has loaded by type, and how many sources it reads by type.
	HubItems    lapi.HubItems  `json:"hub_items"`
	Datasources map[string]int `json:"datasources"`
}

// Components returns what a report is of: one program, in most.
func Components(report []byte) ([]Component, error) {
	var kinds struct {
		Bouncers []Component `json:"remediation_components"`
		Engines  []Component `json:"log_processors"`
		API      *Component  `json:"lapi"`
	}
	if err := json.Unmarshal(report, &kinds); err != nil {
		return nil, fmt.Errorf("a report of usage metrics: %w", err)
	}
	all := slices.Concat(kinds.Bouncers, kinds.Engines)
	if kinds.API != nil {
		all = append(all, *kinds.API)
	}
	return all, nil
}

// System names the system that a component runs on, such as "debian 12"; empty where it does not say.
func (c *Component) System() string {
	if c.Os == nil {
		return ""
	}
	return strings.TrimSpace(c.Os.Name + " " + c.Os.Version)
}

// Inspected is a bouncer or a machine and what it reported last (see Components), null where that is nothing.
type Inspected[T store.Bouncer | store.Machine] struct {
	About  T               `json:"about"`
	Report json.RawMessage `json:"report"`
}

func (s *Sink) inspectBouncer(w http.ResponseWriter, r *http.Request) {
	one, report, err := s.store.BouncerReport(r.PathValue("name"))
	one.KeyHash = "" // nobody needs to see it
	inspected(s, w, one, report, err)
}

func (s *Sink) inspectMachine(w http.ResponseWriter, r *http.Request) {
	one, report, err := s.store.MachineReport(r.PathValue("name"))
	one.PasswordHash = "" // nobody needs to see it
	inspected(s, w, one, report, err)
}

// inspected answers with a bouncer or machine.
func inspected[T store.Bouncer | store.Machine](s *Sink, w http.ResponseWriter, one T, report []byte, err error) {
	switch {
	case errors.Is(err, store.ErrUnknown):
		fail(w, http.StatusNotFound, err.Error())
	case err != nil:
		s.broken(w, fmt.Errorf("a report: %w", err))
	default:
		reply(w, http.StatusOK, Inspected[T]{one, report})
	}
}
