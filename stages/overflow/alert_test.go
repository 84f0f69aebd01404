package overflow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/stages/overflow"
	"sluice/stages/rules"
)

func build(t *testing.T, b *bench, o *pipeline.Overflow) *pipeline.RuntimeAlert {
	t.Helper()
	ra, err := b.builder.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return ra
}

// required lists the keys that the LAPI's specification demands of each
// object, with the type of JSON that it gives them; optional ones that we send follow.
var required = map[string]map[string]string{
	"Alert": {
		"scenario": "string", "scenario_hash": "string", "scenario_version": "string", "message": "string",
		"events_count": "number", "start_at": "string", "stop_at": "string", "capacity": "number",
		"leakspeed": "string", "simulated": "bool", "events": "list", "source": "object",
	},
	"Source":   {"scope": "string", "value": "string"},
	"Event":    {"timestamp": "string", "meta": "list"},
	"Decision": {"origin": "string", "type": "string", "scope": "string", "value": "string", "duration": "string", "scenario": "string"},
}

var optional = map[string]map[string]string{
	"Alert": {
		"uuid": "string", "created_at": "string", "kind": "string", "remediation": "bool", "decisions": "list",
		"meta": "list", "labels": "list", "sluice": "object",
	},
	"Source": {
		"ip": "string", "range": "string", "as_number": "string", "as_name": "string", "cn": "string",
		"latitude": "number", "longitude": "number",
	},
	"Event":    {},
	"Decision": {"uuid": "string", "until": "string", "simulated": "bool"},
}

func typeOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

// conforms looks at an object's keys and their types.
func conforms(t *testing.T, kind string, object any) map[string]any {
	t.Helper()
	m, ok := object.(map[string]any)
	if !ok {
		t.Fatalf("%s is %s, not an object", kind, typeOf(object))
	}
	for key, want := range required[kind] {
		if v, present := m[key]; !present {
			t.Errorf("%s lacks the required key %s", kind, key)
		} else if typeOf(v) != want {
			t.Errorf("%s: %s is a %s, want a %s", kind, key, typeOf(v), want)
		}
	}
	for key, v := range m {
		if _, ok := required[kind][key]; ok {
			continue
		}
		if want, ok := optional[kind][key]; !ok {
			t.Errorf("%s has a key %s that the specification does not know", kind, key)
		} else if typeOf(v) != want {
			t.Errorf("%s: %s is a %s, want a %s", kind, key, typeOf(v), want)
		}
	}
	return m
}

func TestAlertsHaveTheFieldsOfTheLAPI(t *testing.T) {
	context := rules.ContextEntry{Key: "user", Expressions: []rules.Text{text("evt.Meta.user")}}
	rich := fields{
		"Meta.source_ip": "192.0.2.1", "Meta.user": "root", "Meta.SourceRange": "192.0.2.0/24", "Enriched.ASNumber": "64496",
		"Enriched.ASNOrg": "Example Net", "Enriched.IsoCode": "FR", "Enriched.Latitude": "48.5", "Enriched.Longitude": "2.25",
	}
	for _, tc := range []struct {
		name string
		sc   *rules.Scenario
		make func(b *bench) *pipeline.Overflow
	}{
		{"with everything known", scenario("", ""), func(b *bench) *pipeline.Overflow { return full(nil, b.event(rich)) }},
		{"with nothing but an address", scenario("", ""), func(b *bench) *pipeline.Overflow { return full(nil, b.address("2001:db8::7")) }},
		{"of a trigger with hardly a definition", &rules.Scenario{Name: "test/x", Type: "trigger"}, func(b *bench) *pipeline.Overflow {
			return full(nil, b.address("192.0.2.1"))
		}},
		{"of a reprocessed alert, which has no fields", scenario("", ""), func(*bench) *pipeline.Overflow {
			return full(nil, poured(pipeline.Source{Scope: "Ip", Value: "192.0.2.1"}))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, tc.sc, overflow.Options{}, context)
			o := tc.make(b)
			if o.Queue[0].Type == pipeline.OverflowEvent {
				o.Queue[0].Time = start // an empty event of the schema, with an alert
				k := b.event(nil)
				k.Type, k.Overflow = pipeline.OverflowEvent, o.Queue[0].Overflow
				o.Queue[0] = k
			}
			a := build(t, b, o).APIAlerts[0]
			a.Decisions = []pipeline.Decision{{Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: "192.0.2.1", Duration: "4h", Scenario: a.Scenario}}
			data, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			var object any
			if err := json.Unmarshal(data, &object); err != nil {
				t.Fatal(err)
			}
			alert := conforms(t, "Alert", object)
			conforms(t, "Source", alert["source"])
			for _, e := range alert["events"].([]any) {
				conforms(t, "Event", e)
			}
			for _, d := range alert["decisions"].([]any) {
				conforms(t, "Decision", d)
			}
			for _, key := range []string{"start_at", "stop_at"} {
				if _, err := time.Parse(time.RFC3339, alert[key].(string)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
}

func TestAnAlertSaysWhatTheBucketSaw(t *testing.T) {
	b := newBench(t, scenario("", ""), overflow.Options{Simulated: func(name string) bool { return name == "other" }})
	o := full(nil, b.event(fields{"Meta.source_ip": "192.0.2.1", "Meta.user": "root", "Meta.log_type": "x"}))
	o.Ordinal, o.Depth = 2, 1
	ra := build(t, b, o)
	a := ra.Alert
	for name, pair := range map[string][2]any{
		"scenario":     {a.Scenario, "test/guessing"},
		"hash":         {a.ScenarioHash, "abc"},
		"version":      {a.ScenarioVersion, "1.2"},
		"events_count": {a.EventsCount, int32(6)},
		"start_at":     {a.StartAt, "2026-03-01T10:00:00Z"},
		"stop_at":      {a.StopAt, "2026-03-01T10:00:01.5Z"},
		"capacity":     {a.Capacity, int32(5)},
		"leakspeed":    {a.Leakspeed, "10s"},
		"simulated":    {a.Simulated, false},
		"remediation":  {a.Remediation, true},
		"message":      {a.Message, "Ip 192.0.2.1 performed 'test/guessing' (6 events over 1.5s) at 2026-03-01T10:00:01.5Z"},
		"mapkey":       {ra.Mapkey, "key"},
		"key":          {a.Sluice.Key, "key"},
		"ordinal":      {a.Sluice.Ordinal, int32(2)},
		"depth":        {a.Sluice.Depth, int32(1)},
		"time":         {ra.Time, o.LastTime},
		"label":        {a.Sluice.Labels["service"], "ssh"},
		"timestamp":    {a.Events[0].Timestamp, "2026-03-01T10:00:00Z"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
	want := []pipeline.MetaItem{{Key: "log_type", Value: "x"}, {Key: "source_ip", Value: "192.0.2.1"}, {Key: "user", Value: "root"}}
	if !slices.Equal(a.Events[0].Meta, want) {
		t.Errorf("meta %v, want it sorted by key: %v", a.Events[0].Meta, want)
	}
	if a.Decisions == nil {
		t.Error("decisions would be null in JSON, want an empty list")
	}
}

func TestLabelsAndSimulationMarkTheAlert(t *testing.T) {
	for _, tc := range []struct {
		name        string
		remediation any
		simulated   bool
		want        bool
	}{
		{"remediation: true asks for it", true, false, true},
		{"remediation: false does not", false, true, false},
		{"no remediation does not", nil, false, false},
		{"a text is no bool", "true", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sc := scenario("", "")
			sc.Labels["remediation"] = tc.remediation
			b := newBench(t, sc, overflow.Options{Simulated: func(name string) bool { return tc.simulated && name == sc.Name }})
			a := build(t, b, full(nil, b.address("192.0.2.1"))).Alert
			if a.Remediation != tc.want || a.Simulated != tc.simulated {
				t.Errorf("remediation %v, simulated %v; want %v, %v", a.Remediation, a.Simulated, tc.want, tc.simulated)
			}
		})
	}
}

func TestTheIDIsMadeOfWhatMadeTheAlert(t *testing.T) {
	id := func(change func(sc *rules.Scenario, o *pipeline.Overflow)) string {
		sc := scenario("", "")
		b := newBench(t, sc, overflow.Options{})
		o := full([]string{"a"}, b.address("192.0.2.1"))
		change(sc, o)
		return build(t, b, o).Alert.UUID
	}
	same := func(*rules.Scenario, *pipeline.Overflow) {}
	first := id(same)
	if u, err := uuid.Parse(first); err != nil || u.Version() != 5 {
		t.Errorf("%s is no UUID of version 5: %v", first, err)
	}
	seen := map[string]string{first: "the first"}
	for name, change := range map[string]func(sc *rules.Scenario, o *pipeline.Overflow){
		"scenario":      func(sc *rules.Scenario, _ *pipeline.Overflow) { sc.Name = "test/other" },
		"definition":    func(sc *rules.Scenario, _ *pipeline.Overflow) { sc.Hash = "abd" },
		"key":           func(_ *rules.Scenario, o *pipeline.Overflow) { o.Key = "kez" },
		"key of bytes":  func(_ *rules.Scenario, o *pipeline.Overflow) { o.Key = "ke\xfe" },
		"key of others": func(_ *rules.Scenario, o *pipeline.Overflow) { o.Key = "ke\xff" },
		"scope":         func(sc *rules.Scenario, _ *pipeline.Overflow) { sc.ScopeType, sc.ScopeExpr = "user", text("'a'") },
		"value": func(_ *rules.Scenario, o *pipeline.Overflow) {
			o.Queue = nil
			o.Queue = append(o.Queue, poured(pipeline.Source{Scope: "Ip", Value: "192.0.2.2"}))
		},
		"first offset":      func(_ *rules.Scenario, o *pipeline.Overflow) { o.First.Offset++ },
		"first line":        func(_ *rules.Scenario, o *pipeline.Overflow) { o.First.Line++ },
		"causing offset":    func(_ *rules.Scenario, o *pipeline.Overflow) { o.Cause.Offset++ },
		"causing line":      func(_ *rules.Scenario, o *pipeline.Overflow) { o.Cause.Line++ },
		"causing partition": func(_ *rules.Scenario, o *pipeline.Overflow) { o.Cause.ID++ },
		"topic":             func(_ *rules.Scenario, o *pipeline.Overflow) { o.Cause.Topic += "x" },
		"first time":        func(_ *rules.Scenario, o *pipeline.Overflow) { o.FirstTime = o.FirstTime.Add(1) },
		"last time":         func(_ *rules.Scenario, o *pipeline.Overflow) { o.LastTime = o.LastTime.Add(1) },
		"ordinal":           func(_ *rules.Scenario, o *pipeline.Overflow) { o.Ordinal++ },
		"depth":             func(_ *rules.Scenario, o *pipeline.Overflow) { o.Depth++ },
	} {
		got := id(change)
		if other, dup := seen[got]; dup {
			t.Errorf("another %s gives the id of %s", name, other)
		}
		seen[got] = "another " + name
		if again := id(change); again != got {
			t.Errorf("another %s gives %s, then %s", name, got, again)
		}
	}
	elsewhere := id(func(_ *rules.Scenario, o *pipeline.Overflow) {
		o.FirstTime, o.LastTime = o.FirstTime.In(time.FixedZone("x", 3600)), o.LastTime.Local()
		o.Line = 99 // the line in its batch: batches are cut anywhere
	})
	if elsewhere != first {
		t.Error("the id depends on the time zone or on where batches are cut")
	}
}

func TestEverySourceHasAnIDOfItsOwn(t *testing.T) {
	b := newBench(t, scenario("", ""), overflow.Options{})
	ra := build(t, b, full(nil, b.address("192.0.2.1"), b.address("192.0.2.2")))
	if len(ra.APIAlerts) != 2 || ra.APIAlerts[0].UUID == ra.APIAlerts[1].UUID {
		t.Fatalf("two sources give the alerts %+v", ra.APIAlerts)
	}
	if want := "Ip 2 sources performed 'test/guessing' (6 events over 1.5s) at 2026-03-01T10:00:01.5Z"; ra.Alert.Message != want {
		t.Errorf("message %q, want %q", ra.Alert.Message, want)
	}
}

// A postoverflow parser such as ipv6_to_range gives addresses the value of
// their network, under the key that they had.
func TestSourcesOfOneValueHaveTheirOwnIDs(t *testing.T) {
	b := newBench(t, scenario("Range", ""), overflow.Options{})
	alert := poured(pipeline.Source{Scope: "Range", Value: "2001:db8::/64"})
	alert.Overflow.Sources = map[string]pipeline.Source{
		"2001:db8::1": {Scope: "Range", Value: "2001:db8::/64", IP: "2001:db8::1"},
		"2001:db8::2": {Scope: "Range", Value: "2001:db8::/64", IP: "2001:db8::2"},
	}
	ra := build(t, b, full(nil, alert))
	if len(ra.APIAlerts) != 2 || ra.APIAlerts[0].UUID == ra.APIAlerts[1].UUID {
		t.Fatalf("two sources give the alerts %+v", ra.APIAlerts)
	}
}
