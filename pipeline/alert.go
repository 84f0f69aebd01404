package pipeline

import (
	"slices"
	"time"
)

// Source is the cause of an alert, with the LAPI's field names.
type Source struct {
	Scope     string  `json:"scope"` // Ip, Range, or a scenario's own
	Value     string  `json:"value"`
	IP        string  `json:"ip,omitempty"`
	Range     string  `json:"range,omitempty"`
	AsNumber  string  `json:"as_number,omitempty"`
	AsName    string  `json:"as_name,omitempty"`
	Cn        string  `json:"cn,omitempty"` // ISO code of the country
	Latitude  float32 `json:"latitude,omitempty"`
	Longitude float32 `json:"longitude,omitempty"`
}

// GetScope returns the scope, for expressions.
func (s Source) GetScope() string { return s.Scope }

// GetValue returns the value, for expressions.
func (s Source) GetValue() string { return s.Value }

// MetaItem is a key and a value of an alert's or an event's meta.
type MetaItem struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// AlertEvent is one of the events that an alert shows.
type AlertEvent struct {
	Timestamp string     `json:"timestamp"` // RFC 3339
	Meta      []MetaItem `json:"meta"`      // sorted by key
}

// GetMeta returns the value of a key, "" when there is none.
func (e AlertEvent) GetMeta(key string) string {
	for _, m := range e.Meta {
		if m.Key == key {
			return m.Value
		}
	}
	return ""
}

// Decision is what a profile asks bouncers to do, with the LAPI's field names.
type Decision struct {
	UUID      string `json:"uuid,omitempty"`
	Origin    string `json:"origin"`
	Type      string `json:"type"` // ban, captcha, throttle, …
	Scope     string `json:"scope"`
	Value     string `json:"value"`
	Duration  string `json:"duration"`        // Go duration
	Until     string `json:"until,omitempty"` // RFC 3339
	Scenario  string `json:"scenario"`
	Simulated bool   `json:"simulated"`
}

// Alert is an overflow as the LAPI's specification names its fields, with
// what Sluice adds under "sluice".
type Alert struct {
	UUID            string       `json:"uuid"` // deterministic: see AlertID
	CreatedAt       string       `json:"created_at,omitempty"`
	Kind            string       `json:"kind,omitempty"`
	Scenario        string       `json:"scenario"`
	ScenarioHash    string       `json:"scenario_hash"`
	ScenarioVersion string       `json:"scenario_version"`
	Message         string       `json:"message"`
	EventsCount     int32        `json:"events_count"` // pours since the bucket's birth
	StartAt         string       `json:"start_at"`     // RFC 3339, event time
	StopAt          string       `json:"stop_at"`
	Capacity        int32        `json:"capacity"`
	Leakspeed       string       `json:"leakspeed"`
	Simulated       bool         `json:"simulated"`
	Remediation     bool         `json:"remediation"`
	Labels          []string     `json:"labels,omitempty"`
	Source          *Source      `json:"source"`
	Meta            []MetaItem   `json:"meta,omitempty"` // the alert context, sorted by key
	Events          []AlertEvent `json:"events"`
	Decisions       []Decision   `json:"decisions"`
	Sluice          AlertOrigin  `json:"sluice"`
}

// AlertOrigin says where an alert came from in the stream.
type AlertOrigin struct {
	Key     string         `json:"key"`     // the bucket's groupby value
	Ordinal int32          `json:"ordinal"` // among the overflows that the causing record made in this scenario
	Depth   int32          `json:"depth,omitempty"`
	Cause   Position       `json:"cause"`            // the record that made the bucket overflow
	First   Position       `json:"first"`            // the bucket's first record
	Labels  map[string]any `json:"labels,omitempty"` // the scenario's labels
	// Allowlisted names the item of an allow-list, and the list, for which nothing was decided.
	Allowlisted string    `json:"allowlisted,omitempty"`
	StartTime   time.Time `json:"-"`
	StopTime    time.Time `json:"-"`
}

// GetScenario returns the scenario's name, for expressions.
func (a *Alert) GetScenario() string { return a.Scenario }

// GetScope returns the source's scope, for expressions.
func (a *Alert) GetScope() string {
	if a.Source == nil {
		return ""
	}
	return a.Source.Scope
}

// GetValue returns the source's value, for expressions.
func (a *Alert) GetValue() string {
	if a.Source == nil {
		return ""
	}
	return a.Source.Value
}

// GetEventsCount returns the number of pours, for expressions.
func (a *Alert) GetEventsCount() int32 { return a.EventsCount }

// GetScenarioVersion and its kin serve expressions.
func (a *Alert) GetScenarioVersion() string { return a.ScenarioVersion }

// RuntimeAlert is an overflow inside the engine: one alert with all its
// sources. Sinks get one Alert for each source (FIDELITY 23).
type RuntimeAlert struct {
	Mapkey      string
	Reprocess   bool
	Whitelisted bool
	Sources     map[string]Source
	// Alert is the alert of the sorted first source, the one rules look at.
	Alert *Alert
	// APIAlerts are the alerts of all sources, sorted by source.
	APIAlerts []Alert
	// Time is the causing event's time.
	Time time.Time
}

// GetSources returns the values of the sources, sorted, for expressions.
func (r RuntimeAlert) GetSources() []string {
	out := make([]string, 0, len(r.Sources))
	for k := range r.Sources {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
