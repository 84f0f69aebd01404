package format

import (
	"time"

	"sluice/pipeline"
	"sluice/pipeline/lapi"
)

// FromCrowdSec returns an alert that a CrowdSec watcher sent as expressions
// look at it. What the local API has no field for is empty.
func FromCrowdSec(a *lapi.Alert) *pipeline.Alert {
	out := &pipeline.Alert{
		UUID: text(a.Uuid), CreatedAt: text(a.CreatedAt), Kind: text(a.Kind), Scenario: a.Scenario, ScenarioHash: a.ScenarioHash,
		ScenarioVersion: a.ScenarioVersion, Message: a.Message, EventsCount: a.EventsCount, StartAt: a.StartAt, StopAt: a.StopAt,
		Capacity: a.Capacity, Leakspeed: a.Leakspeed, Simulated: a.Simulated, Remediation: a.Remediation != nil && *a.Remediation,
		Source: &pipeline.Source{
			Scope: a.Source.Scope, Value: a.Source.Value, IP: text(a.Source.Ip), Range: text(a.Source.Range),
			AsNumber: text(a.Source.AsNumber), AsName: text(a.Source.AsName), Cn: text(a.Source.Cn),
		},
	}
	if a.Source.Latitude != nil && a.Source.Longitude != nil {
		out.Source.Latitude, out.Source.Longitude = *a.Source.Latitude, *a.Source.Longitude
	}
	if a.Labels != nil {
		out.Labels = *a.Labels
	}
	if a.Meta != nil {
		out.Meta = fromMeta(*a.Meta)
	}
	for i := range a.Events {
		out.Events = append(out.Events, pipeline.AlertEvent{Timestamp: a.Events[i].Timestamp, Meta: fromMeta(a.Events[i].Meta)})
	}
	out.Sluice.StartTime, _ = time.Parse(time.RFC3339Nano, a.StartAt) // zero where it is no time
	out.Sluice.StopTime, _ = time.Parse(time.RFC3339Nano, a.StopAt)
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func fromMeta(items lapi.Meta) []pipeline.MetaItem {
	out := make([]pipeline.MetaItem, len(items))
	for i := range items {
		out[i] = pipeline.MetaItem{Key: text(items[i].Key), Value: text(items[i].Value)}
	}
	return out
}
