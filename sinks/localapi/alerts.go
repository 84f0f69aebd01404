package localapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
	"sluice/pipeline/duration"
	"sluice/pipeline/lapi"
	"sluice/sinks/format"
	"sluice/sinks/localapi/store"
)

// required are the keys that the specification asks for.
func required() map[string][]string {
	return map[string][]string{
		"an alert": {"scenario", "scenario_hash", "scenario_version", "message", "events_count", "start_at", "stop_at", "capacity", "leakspeed", "simulated", "events", "source"},
		"a source": {"scope", "value"}, "an event": {"timestamp", "meta"},
		"a decision": {"origin", "type", "scope", "value", "duration", "scenario"},
	}
}

// checkKeys tells what a posted alert lacks.
func checkKeys(text json.RawMessage) error {
	var a struct {
		Source    map[string]json.RawMessage
		Events    []map[string]json.RawMessage
		Decisions []map[string]json.RawMessage
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return err
	}
	needs := required()
	check := func(what string, have map[string]json.RawMessage) error {
		for _, key := range needs[what] {
			if v, ok := have[key]; !ok || string(v) == "null" && key != "meta" {
				return fmt.Errorf("%s needs %q", what, key)
			}
		}
		return nil
	}
	if err := check("an alert", whole); err != nil {
		return err
	}
	if err := check("a source", a.Source); err != nil {
		return err
	}
	for _, e := range a.Events {
		if err := check("an event", e); err != nil {
			return err
		}
	}
	for _, d := range a.Decisions {
		if err := check("a decision", d); err != nil {
			return err
		}
	}
	return nil
}

// postAlerts implements POST /alerts. Either all alerts are taken or, where one
// is not what it should be, none.
func (s *Sink) postAlerts(w http.ResponseWriter, r *http.Request, machine string) {
	var texts []json.RawMessage
	if !decode(w, r, &texts) {
		return
	}
	news := make([]*store.NewAlert, len(texts))
	for i, text := range texts {
		n, err := s.newAlert(text, machine)
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Sprintf("alert %d: %v", i, err))
			return
		}
		news[i] = n
	}
	ids := make(lapi.AddAlertsResponse, len(news))
	for i, n := range news {
		id, _, err := s.store.AddAlert(n)
		if err != nil {
			s.broken(w, err)
			return
		}
		ids[i] = strconv.FormatInt(id, 10)
	}
	if err := s.store.ChangeMachine(machine, func(m *store.Machine) { m.LastPush = s.store.Now().UTC() }); err != nil {
		s.log.Warn("it could not be written down when a machine pushed", "machine", machine, "error", err)
	}
	reply(w, http.StatusCreated, ids)
}

// newAlert reads a posted alert. Its own id counts where it is one of ours,
// which stands in its meta: so an alert that is sent again is kept once.
func (s *Sink) newAlert(text json.RawMessage, machine string) (*store.NewAlert, error) {
	var a lapi.Alert
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, err
	}
	if err := checkKeys(text); err != nil {
		return nil, err
	}
	for _, at := range []string{a.StartAt, a.StopAt} {
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("%q is no time such as 2026-03-01T12:00:00Z", at)
		}
	}
	n := &store.NewAlert{Machine: machine, Alert: a, UUID: metaID(&a)}
	if a.Decisions == nil || len(*a.Decisions) == 0 {
		made, err := s.decide(&a)
		n.Decisions = made
		return n, err
	}
	now := s.store.Now()
	for i := range *a.Decisions {
		d := &(*a.Decisions)[i]
		length, err := duration.Parse(d.Duration)
		if err != nil {
			return nil, err
		}
		kept, err := decisions.Canonical(decisions.Decision{
			UUID: uuid.New(), Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario, Until: now.Add(length),
			Simulated: a.Simulated || d.Simulated != nil && *d.Simulated,
		})
		if err != nil {
			return nil, err
		}
		n.Decisions = append(n.Decisions, kept)
	}
	return n, nil
}

func metaID(a *lapi.Alert) string {
	if a.Meta == nil {
		return ""
	}
	for _, m := range *a.Meta {
		if m.Key != nil && m.Value != nil && *m.Key == format.MetaID {
			return *m.Value
		}
	}
	return ""
}

// decide runs the pipeline's profiles on an alert that came without decisions.
func (s *Sink) decide(a *lapi.Alert) ([]decisions.Decision, error) {
	if s.env.Decide == nil || a.Remediation == nil || !*a.Remediation {
		return nil, nil
	}
	stop, _ := time.Parse(time.RFC3339Nano, a.StopAt) // it was read before
	alert := &pipeline.Alert{
		Scenario: a.Scenario, ScenarioHash: a.ScenarioHash, ScenarioVersion: a.ScenarioVersion, Message: a.Message, EventsCount: a.EventsCount,
		StartAt: a.StartAt, StopAt: a.StopAt, Capacity: a.Capacity, Leakspeed: a.Leakspeed, Simulated: a.Simulated, Remediation: true,
		Source: &pipeline.Source{Scope: a.Source.Scope, Value: a.Source.Value}, Sluice: pipeline.AlertOrigin{StopTime: stop},
	}
	for _, f := range []struct {
		to   *string
		from *string
	}{{&alert.Source.IP, a.Source.Ip}, {&alert.Source.Range, a.Source.Range}, {&alert.Source.Cn, a.Source.Cn}, {&alert.Source.AsName, a.Source.AsName}, {&alert.Source.AsNumber, a.Source.AsNumber}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	made := s.env.Decide(alert)
	for i := range made {
		made[i].Until = "" // an engine's alert may come late: its decisions last from now on
	}
	return s.decisionsOf(made)
}

// alertFilter are the parameters that select alerts.
type alertFilter struct {
	decisions       *decisions.Filter // of the alert's source, but for Type and Origins
	since, until    time.Time
	simulated       bool
	active          *bool
	typ, origin, by string
	limit           int
}

// readAlertFilter reads the parameters. since and until are times, or durations before now.
func readAlertFilter(q url.Values, now time.Time) (*alertFilter, error) {
	f, err := readFilter(url.Values{"scope": q["scope"], "value": q["value"], "ip": q["ip"], "range": q["range"], "scenario": q["scenario"], "contains": q["contains"]})
	if err != nil {
		return nil, err
	}
	if f.Prefix.IsValid() && q.Get("contains") == "" {
		f.Within = true // alerts are looked for in a range, not around it
	}
	out := &alertFilter{decisions: f, simulated: true, typ: q.Get("decision_type"), origin: q.Get("origin"), by: q.Get("alert_source")}
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"since", &out.since}, {"until", &out.until}} {
		if text := q.Get(t.name); text != "" {
			if *t.to, err = time.Parse(time.RFC3339, text); err == nil {
				continue
			}
			d, err := duration.Parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is neither a time nor a duration such as 4h", t.name, text)
			}
			*t.to = now.Add(-d)
		}
	}
	if text := q.Get("simulated"); text != "" {
		if out.simulated, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("simulated: %q is neither true nor false", text)
		}
	}
	if text := q.Get("has_active_decision"); text != "" {
		active, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("has_active_decision: %q is neither true nor false", text)
		}
		out.active = &active
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < 0 || n > 1e9 {
			return nil, fmt.Errorf("limit: %q is no number of alerts", text)
		}
		out.limit = int(n)
	}
	return out, nil
}

func (s *Sink) selects(f *alertFilter, a *store.Alert, now time.Time) bool {
	src := &a.Alert.Source
	d := f.decisions
	switch {
	case !f.since.IsZero() && a.Created.Before(f.since), !f.until.IsZero() && a.Created.After(f.until),
		!f.simulated && a.Alert.Simulated,
		d.Scenario != "" && a.Alert.Scenario != d.Scenario,
		d.Scope != "" && !strings.EqualFold(src.Scope, d.Scope),
		d.Value != "" && src.Value != d.Value,
		f.by != "" && a.Machine != f.by && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return d.Origin == f.by }),
		f.typ != "" && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return d.Type == f.typ }),
		f.origin != "" && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return d.Origin == f.origin }),
		f.active != nil && s.store.InForce(a, now) != *f.active:
		return false
	case !d.Prefix.IsValid():
		return true
	}
	return sourceIn(src, d.Prefix, d.Within)
}

// sourceIn tells whether an alert's source lies in a prefix, or around it.
func sourceIn(src *lapi.Source, p netip.Prefix, within bool) bool {
	for _, text := range []*string{&src.Value, src.Ip} {
		if text == nil {
			continue
		}
		if q, err := parsePrefix(*text); err == nil && q.Overlaps(p) && (q.Bits() >= p.Bits()) == within || err == nil && q == p {
			return true
		}
	}
	return false
}

// matching returns the alerts that a request selects, the newest first.
func (s *Sink) matching(w http.ResponseWriter, r *http.Request) (out []*store.Alert, ok bool) {
	now := s.store.Now()
	f, err := readAlertFilter(r.URL.Query(), now)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	err = s.store.Alerts(func(a *store.Alert) bool {
		if s.selects(f, a, now) {
			out = append(out, a)
		}
		return f.limit == 0 || len(out) < f.limit
	})
	if err != nil {
		s.broken(w, err)
		return nil, false
	}
	return out, true
}

// getAlerts implements GET /alerts.
func (s *Sink) getAlerts(w http.ResponseWriter, r *http.Request, _ string) {
	found, ok := s.matching(w, r)
	if !ok {
		return
	}
	now := s.store.Now()
	out := make(lapi.GetAlertsResponse, len(found))
	for i, a := range found {
		out[i] = shown(a, now)
	}
	reply(w, http.StatusOK, out)
}

// deleteAlerts implements DELETE /alerts.
func (s *Sink) deleteAlerts(w http.ResponseWriter, r *http.Request, _ string) {
	found, ok := s.matching(w, r)
	if !ok {
		return
	}
	ids := make([]int64, len(found))
	for i, a := range found {
		ids[i] = a.ID
	}
	n, err := s.store.DeleteAlerts(ids)
	if err != nil {
		s.broken(w, err)
		return
	}
	deleted(w, n)
}

// oneAlert returns the alert that a path names; otherwise it has answered.
func (s *Sink) oneAlert(w http.ResponseWriter, r *http.Request) *store.Alert {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf("%q is no number of an alert", r.PathValue("id")))
		return nil
	}
	a, err := s.store.Alert(id)
	if err != nil {
		s.broken(w, err)
		return nil
	}
	if a == nil {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no alert %d", id))
	}
	return a
}

func (s *Sink) getAlert(w http.ResponseWriter, r *http.Request, _ string) {
	if a := s.oneAlert(w, r); a != nil {
		reply(w, http.StatusOK, shown(a, s.store.Now()))
	}
}

func (s *Sink) deleteAlert(w http.ResponseWriter, r *http.Request, _ string) {
	a := s.oneAlert(w, r)
	if a == nil {
		return
	}
	n, err := s.store.DeleteAlerts([]int64{a.ID})
	if err != nil {
		s.broken(w, err)
		return
	}
	deleted(w, n)
}

// shown returns an alert as the API shows it: its decisions with what is left of them.
func shown(a *store.Alert, now time.Time) lapi.Alert {
	out := a.Alert
	id, created := int(a.ID), a.Created.Format(time.RFC3339)
	out.Id, out.CreatedAt, out.Uuid, out.MachineId = &id, &created, &a.UUID, &a.Machine
	ds := make([]lapi.Decision, len(a.Decisions))
	for i := range a.Decisions {
		d := &a.Decisions[i]
		id, until := int(d.ID), d.Until.Format(time.RFC3339)
		ds[i] = lapi.Decision{
			Id: &id, Uuid: &d.UUID, Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario,
			Duration: d.Until.Sub(now).Truncate(time.Second).String(), Until: &until, Simulated: &d.Simulated,
		}
	}
	out.Decisions = &ds
	return out
}
