package localapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

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
		Labels    []*string
		Meta      []*struct{}
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return err
	}
	if slices.Contains(a.Labels, nil) || slices.Contains(a.Meta, nil) {
		return errors.New("an alert's labels and meta hold no null")
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
	for name, most := range map[string]float64{"latitude": 90, "longitude": 180} {
		var n float64 // null leaves it
		if text, ok := a.Source[name]; ok && (json.Unmarshal(text, &n) != nil || math.Abs(n) > most) {
			return fmt.Errorf("a source's %s is a number between -%v and %v", name, most, most)
		}
	}
	for _, e := range a.Events {
		if err := check("an event", e); err != nil {
			return err
		}
		var meta []*struct{}
		if err := json.Unmarshal(e["meta"], &meta); err != nil || slices.Contains(meta, nil) {
			return errors.New("an event's meta is a list, and holds no null")
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
	if texts == nil {
		fail(w, http.StatusBadRequest, "the body is null, and no list of alerts")
		return
	}
	news := make([]*store.NewAlert, len(texts))
	for i, text := range texts {
		n, err := s.newAlert(text, machine)
		if err == nil {
			err = n.Check()
		}
		if err != nil {
			fail(w, refusal(err), fmt.Sprintf("alert %d: %v", i, err))
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
	err := s.store.ChangeMachine(machine, func(m *store.Machine) { m.LastPush = s.store.Now().UTC() })
	if err != nil && !errors.Is(err, store.ErrUnknown) { // the command line is no machine
		s.log.Warn("it could not be written down when a machine pushed", "machine", machine, "error", err)
	}
	reply(w, http.StatusCreated, ids)
}

// refusal is the status of a request that is refused for what is in it.
func refusal(err error) int {
	if errors.Is(err, store.ErrTooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
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
	var stop time.Time // from which decisions last, as CrowdSec's local API counts it
	for _, at := range []string{a.StartAt, a.StopAt} {
		var err error
		if stop, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("%q is no time such as 2026-03-01T12:00:00Z", at)
		}
	}
	for i := range a.Events {
		if a.Events[i].Meta == nil {
			a.Events[i].Meta = lapi.Meta{} // null comes in, and is not told
		}
	}
	n := &store.NewAlert{Machine: machine, Alert: a, UUID: metaID(&a)}
	if a.Decisions == nil || len(*a.Decisions) == 0 {
		if n.UUID == "" {
			n.UUID = uuid.NewString() // the ids of what is decided come of it
		}
		return n, s.decide(n, stop)
	}
	for i := range *a.Decisions {
		d := &(*a.Decisions)[i]
		length, err := duration.Parse(d.Duration)
		if err != nil {
			return nil, err
		}
		kept, err := decisions.Canonical(decisions.Decision{
			UUID: uuid.New(), Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario, Until: stop.Add(length),
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
// What they decide lasts from the alert's end, whoever made the alert.
func (s *Sink) decide(n *store.NewAlert, stop time.Time) (err error) {
	a := &n.Alert
	if s.env.Decide == nil || a.Remediation == nil || !*a.Remediation {
		return nil
	}
	n.View = format.FromCrowdSec(a)
	n.View.UUID = n.UUID
	made := s.env.Decide(n.View)
	n.Allowed = n.View.Sluice.Allowlisted
	n.Decisions, err = s.decisionsOf(made, stop)
	return err
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
	if out.since, out.until, err = readTimes(q, now); err != nil {
		return nil, err
	}
	if out.simulated, err = truth(q, "simulated", true); err != nil {
		return nil, err
	}
	if _, ok := given(q, "has_active_decision"); ok {
		active, err := truth(q, "has_active_decision", true)
		if err != nil {
			return nil, err
		}
		out.active = &active
	}
	if text, ok := given(q, "limit"); ok {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= 1e9) { // NaN is neither
			return nil, fmt.Errorf("limit: %q is no number of alerts", text)
		}
		out.limit = int(n)
	}
	return out, nil
}

// readTimes reads since and until: times, or durations before now. They are zero where they are not given.
func readTimes(q url.Values, now time.Time) (since, until time.Time, err error) {
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"since", &since}, {"until", &until}} {
		if text, ok := given(q, t.name); ok {
			if *t.to, err = time.Parse(time.RFC3339, text); err == nil {
				continue
			}
			d, err := duration.Parse(text)
			if err != nil {
				return since, until, fmt.Errorf("%s: %q is neither a time such as 2026-03-01T12:00:00Z nor a duration such as 4h", t.name, text)
			}
			*t.to = now.Add(-d)
		}
	}
	return since, until, nil
}

func (f *alertFilter) selects(a *store.Alert, inForce *store.InForce) bool {
	src := &a.Alert.Source
	d := f.decisions
	switch {
	case !f.since.IsZero() && a.Created.Before(f.since), !f.until.IsZero() && a.Created.After(f.until),
		!f.simulated && a.Alert.Simulated,
		d.Scenario != "" && a.Alert.Scenario != d.Scenario,
		d.Scope != "" && !strings.EqualFold(src.Scope, d.Scope),
		d.Value != "" && src.Value != d.Value,
		f.by != "" && a.Machine != f.by && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return decisions.OriginIs(d.Origin, f.by) }),
		f.typ != "" && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return d.Type == f.typ }),
		f.origin != "" && !slices.ContainsFunc(a.Decisions, func(d store.Decided) bool { return decisions.OriginIs(d.Origin, f.origin) }),
		f.active != nil && inForce.Has(a) != *f.active:
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

// matching calls visit with the alerts that a request selects, the newest first,
// until it returns false. It returns false when it has answered that the request
// is wrong; an error is the store's.
func (s *Sink) matching(w http.ResponseWriter, r *http.Request, visit func(*store.Alert) bool) (ok bool, err error) {
	now := s.store.Now()
	f, err := readAlertFilter(r.URL.Query(), now)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return false, nil
	}
	n, inForce := 0, s.store.InForce(now)
	return true, s.store.Alerts(func(a *store.Alert) bool {
		if !f.selects(a, inForce) {
			return true
		}
		n++
		return visit(a) && n != f.limit
	})
}

// getAlerts implements GET /alerts.
func (s *Sink) getAlerts(w http.ResponseWriter, r *http.Request, _ string) {
	active, _ := strconv.ParseBool(r.URL.Query().Get("has_active_decision")) // matching says whether it is none
	now := s.store.Now()
	out := newEncoder(w, now)
	out.begin("[")
	var failed error
	ok, err := s.matching(w, r, func(a *store.Alert) bool {
		failed = out.item(s.shown(a, now, active))
		return failed == nil && out.part()
	})
	if ok {
		out.close(s, cmp.Or(err, failed))
	}
}

// deleteAlerts implements DELETE /alerts.
func (s *Sink) deleteAlerts(w http.ResponseWriter, r *http.Request, _ string) {
	if err := narrows(r, "ip", "range", "scope", "value", "scenario", "contains", "since", "until", "simulated", "has_active_decision",
		"decision_type", "origin", "alert_source", "limit"); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var ids []int64
	ok, err := s.matching(w, r, func(a *store.Alert) bool { ids = append(ids, a.ID); return true })
	if !ok {
		return
	}
	n := 0
	if err == nil {
		n, err = s.store.DeleteAlerts(ids)
	}
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
		reply(w, http.StatusOK, s.shown(a, s.store.Now(), false))
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

// shown returns an alert as the API shows it: its decisions with what is left
// of them, nothing for those that were withdrawn; with active only those in
// force, since it is from such alerts that cscli lists decisions.
func (s *Sink) shown(a *store.Alert, now time.Time, active bool) lapi.Alert {
	out := a.Alert
	id, created := int(a.ID), a.Created.Format(time.RFC3339)
	out.Id, out.CreatedAt, out.Uuid, out.MachineId = &id, &created, &a.UUID, &a.Machine
	ds := make([]lapi.Decision, 0, len(a.Decisions))
	for i := range a.Decisions {
		d := a.Decisions[i]
		if !s.store.DecisionInForce(&d, now) {
			if active {
				continue
			}
			if d.Until.After(now) {
				d.Until = now
			}
		}
		ds = append(ds, shownDecision(&d, now))
	}
	out.Decisions = &ds
	return out
}

func shownDecision(d *store.Decided, now time.Time) lapi.Decision {
	until := d.Until.Format(time.RFC3339)
	out := lapi.Decision{
		Uuid: &d.UUID, Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario,
		Duration: d.Until.Sub(now).Truncate(time.Second).String(), Until: &until, Simulated: &d.Simulated,
	}
	if id := int(d.ID); id != 0 {
		out.Id = &id
	}
	return out
}
