package format

import (
	"sluice/pipeline"
	"sluice/pipeline/lapi"
)

// MetaID is the key of an alert's meta under which its id goes to a LAPI,
// which gives alerts ids of its own and ignores those that it is sent.
const MetaID = "sluice_alert_id"

// MetaAllowlisted is the key of an alert's meta that names the item of an
// allow-list, and the list, for which nothing was decided.
const MetaAllowlisted = "allowlisted"

// ToCrowdSec returns an alert as a CrowdSec watcher sends it.
func ToCrowdSec(a *pipeline.Alert) lapi.Alert {
	out := lapi.Alert{
		Capacity: a.Capacity, EventsCount: a.EventsCount, Leakspeed: a.Leakspeed, Message: a.Message,
		Scenario: a.Scenario, ScenarioHash: a.ScenarioHash, ScenarioVersion: a.ScenarioVersion,
		Simulated: a.Simulated, StartAt: a.StartAt, StopAt: a.StopAt,
		Remediation: &a.Remediation, Source: toSource(a.Source), Events: []lapi.Event{},
	}
	if a.Kind != "" {
		out.Kind = &a.Kind
	}
	if len(a.Labels) > 0 {
		out.Labels = &a.Labels
	}
	items := append(a.Meta[:len(a.Meta):len(a.Meta)], pipeline.MetaItem{Key: MetaID, Value: a.UUID})
	if a.Sluice.Allowlisted != "" {
		items = append(items, pipeline.MetaItem{Key: MetaAllowlisted, Value: a.Sluice.Allowlisted})
	}
	meta := toMeta(items)
	out.Meta = &meta
	for i := range a.Events {
		out.Events = append(out.Events, lapi.Event{Timestamp: a.Events[i].Timestamp, Meta: toMeta(a.Events[i].Meta)})
	}
	decisions := make([]lapi.Decision, len(a.Decisions))
	for i := range a.Decisions {
		d := &a.Decisions[i]
		decisions[i] = lapi.Decision{
			Duration: d.Duration, Origin: d.Origin, Scenario: d.Scenario, Scope: d.Scope, Type: d.Type, Value: d.Value,
			Simulated: &d.Simulated, Uuid: optional(&d.UUID), Until: optional(&d.Until),
		}
	}
	out.Decisions = &decisions
	return out
}

// optional returns nil for an empty text.
func optional(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

func toSource(s *pipeline.Source) lapi.Source {
	if s == nil {
		return lapi.Source{}
	}
	out := lapi.Source{
		Scope: s.Scope, Value: s.Value, Ip: optional(&s.IP), Range: optional(&s.Range),
		AsNumber: optional(&s.AsNumber), AsName: optional(&s.AsName), Cn: optional(&s.Cn),
	}
	if s.Latitude != 0 || s.Longitude != 0 {
		out.Latitude, out.Longitude = &s.Latitude, &s.Longitude
	}
	return out
}

func toMeta(items []pipeline.MetaItem) lapi.Meta {
	out := make(lapi.Meta, len(items))
	for i := range items {
		out[i].Key, out[i].Value = &items[i].Key, &items[i].Value
	}
	return out
}
