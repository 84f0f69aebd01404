package pipeline

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/state"
)

var update = flag.Bool("update", false, "write the golden files of the versions of today")

var codeScenarios = []ScenarioID{
	{"a/one", "true", "h1"}, {"a/two", "evt.Meta.x == 'y'", "h2"},
	{"a/one", "true", "h1"}, // the same again, in another file
	{"a/one", "true", "h3"}, // of the same group
}

func codeSchema(more ...string) *Schema {
	s := NewSchema()
	for _, name := range more {
		s.Slot(Meta, name)
	}
	s.Slot(Parsed, "message")
	s.Slot(Meta, "source_ip")
	return s
}

var codePartition = Partition{Source: "kafka", Topic: "logs/a", ID: 3}

// richEvent has everything that an event can have.
func richEvent(schema *Schema) *Event {
	ev := NewEvent(schema)
	ev.Type = OverflowEvent
	ev.Position = Position{Partition: codePartition, Offset: 1 << 40, Line: 2}
	ev.Time = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	ev.Received = time.Date(2026, 1, 1, 0, 0, 0, 5e6, time.UTC)
	ev.Set(SlotLineRaw, strings.Repeat("long ", 200))
	ev.SetField(Meta, "source_ip", "2001:db8::1")
	ev.SetField(Parsed, "message", "")
	ev.SetField(Meta, "by_its_name", "x\xffy")
	ev.SetField(Enriched, "by_its_name", "z")
	ev.Unmarshaled = map[string]any{
		"none": nil, "yes": true, "no": false, "text": "t", "number": 1.5, "int": 7, "int64": int64(-8), "uint64": uint64(9),
		"list": []any{"a", map[string]any{"b": []any{}}}, "texts": []string{"c", "d"}, "map": map[string]string{"e": "f"},
	}
	alert := Alert{
		UUID: "u", Scenario: "a/one", Events: []AlertEvent{{Timestamp: "t", Meta: []MetaItem{{"k", "v"}}}}, Decisions: []Decision{},
		Source: &Source{Scope: "Ip", Value: "1.2.3.4"},
		Sluice: AlertOrigin{
			Key: "k", Labels: map[string]any{"confidence": uint64(3), "remediation": true},
			StartTime: ev.Received, StopTime: ev.Received.Add(time.Minute),
		},
	}
	ev.Overflow = &RuntimeAlert{
		Mapkey: "k", Reprocess: true, Sources: map[string]Source{"1.2.3.4": *alert.Source},
		APIAlerts: []Alert{alert}, Time: ev.Received,
	}
	ev.Overflow.Alert = &ev.Overflow.APIAlerts[0]
	return ev
}

// keptState is all that a kept event says.
func keptState(k *Kept) string {
	fields := map[string]string{}
	for space := range numNamespaces {
		k.Each(space, func(name, value string) { fields[Field{space, name}.String()] = value })
	}
	_, offset := k.Time.Zone()
	var alert string
	if k.Overflow != nil {
		same := len(k.Overflow.APIAlerts) > 0 && k.Overflow.Alert == &k.Overflow.APIAlerts[0]
		alert = fmt.Sprintf("%#v %v %v", k.Overflow.Sources, same, k.Overflow.Reprocess)
		text, _ := json.Marshal(k.Overflow)
		for _, o := range origins(k.Overflow) {
			alert += fmt.Sprintf(" %v %v %#v", o.StartTime, o.StopTime, o.Labels)
		}
		alert += string(text)
	}
	return fmt.Sprintf("%d %v %v %d %v\n%q\n%#v\n%s", k.Type, k.Position, k.Time, offset, k.Received, fields, k.Unmarshaled, alert)
}

func TestKeptEventsComeBack(t *testing.T) {
	schema := codeSchema()
	c := NewKeptCoder(schema, state.NewDictionary(), codeScenarios)
	var arena KeptArena
	plain := NewEvent(schema)
	plain.Position = Position{Partition: codePartition}
	plain.Received = time.Unix(1, 0)
	for name, ev := range map[string]*Event{"everything": richEvent(schema), "nothing": NewEvent(schema), "time alone": plain} {
		for _, whole := range []bool{true, false} {
			in := arena.Keep(ev, &KeepSet{Whole: whole, Slots: []Slot{SlotLineRaw}})
			for form, k := range map[string]*Kept{"in an arena": in, "owned": in.Own()} {
				b := c.Append([]byte("before"), k)
				back, rest, err := c.Clone().Decode(append(b, "after"...)[6:])
				if err != nil || string(rest) != "after" {
					t.Errorf("%s, %s: rest %q, %v", name, form, rest, err)
					continue
				}
				if got, want := keptState(back), keptState(k); got != want {
					t.Errorf("%s, %s: got\n%s\nwant\n%s", name, form, got, want)
				}
				if !reflect.DeepEqual(back.Unmarshaled, k.Unmarshaled) {
					t.Errorf("%s, %s: got %#v, want %#v", name, form, back.Unmarshaled, k.Unmarshaled)
				}
				if again := c.Append([]byte("before"), back); string(again) != string(b) {
					t.Errorf("%s, %s: written again it differs", name, form)
				}
			}
		}
	}
}

// TestKeptEventsUnderOtherRules: a field without a slot by now is found by its
// name, and one that has a slot by now is found in it.
func TestKeptEventsUnderOtherRules(t *testing.T) {
	dict := state.NewDictionary()
	var arena KeptArena
	old := codeSchema("gone")
	ev := NewEvent(old)
	ev.SetField(Meta, "gone", "1")
	ev.SetField(Meta, "source_ip", "2")
	ev.SetField(Meta, "new", "3")
	b := NewKeptCoder(old, dict, nil).Append(nil, arena.Keep(ev, &KeepSet{}))
	schema := codeSchema("new", "other")
	k, _, err := NewKeptCoder(schema, dict, nil).Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gone": "1", "source_ip": "2", "new": "3", "other": ""} {
		if got, present := k.Field(Meta, name); got != want || present != (want != "") {
			t.Errorf("%s is %q, %v", name, got, present)
		}
	}
	if got := k.Own().Get(schema.Lookup(Meta, "new")); got != "3" {
		t.Errorf("new is %q in its slot", got)
	}
}

func codeOverflow(k *Kept) *Overflow {
	at := func(n int64) Position { return Position{Partition: codePartition, Offset: n, Line: int32(n) % 3} }
	return &Overflow{
		Scenario: 3, Key: "k\x00", Cause: at(9), Line: 4, Ordinal: 1, Depth: 2, First: at(1), Last: at(9),
		FirstTime: time.Unix(100, 5).UTC(), LastTime: time.Unix(90, 0).UTC(), Count: 7,
		Queue: []*Kept{k, k}, Scopes: []string{"", "s"},
	}
}

func TestOverflowsAndPoursComeBack(t *testing.T) {
	dict, schema := state.NewDictionary(), codeSchema()
	c := NewKeptCoder(schema, dict, codeScenarios)
	var arena KeptArena
	k := arena.Keep(richEvent(schema), &KeepSet{Whole: true})
	o := codeOverflow(k)
	p := &Pour{Scenario: 2, Line: 3, Route: 1<<63 + 1, Key: "a", Distinct: "b", Scope: "c", AlertLane: true, Failed: true, Event: k}

	// The rules in another order, without one of them.
	moved := []ScenarioID{codeScenarios[3], codeScenarios[0], codeScenarios[2]}
	for name, tc := range map[string]struct {
		rules          []ScenarioID
		overflow, pour int32
	}{
		"the same rules": {codeScenarios, 3, 2}, "in another order": {moved, 0, 2},
		"without either": {codeScenarios[:2], -1, -1}, "no rules": {nil, -1, -1},
	} {
		d := NewKeptCoder(schema, dict, tc.rules)
		got, rest, err := d.DecodeOverflow(append(c.AppendOverflow(nil, o), "after"...))
		if string(rest) != "after" || got.Scenario != tc.overflow || errors.Is(err, ErrUnknownScenario) != (tc.overflow < 0) {
			t.Fatalf("%s: overflow of %d, rest %q, %v", name, got.Scenario, rest, err)
		}
		for i := range got.Queue {
			if keptState(got.Queue[i]) != keptState(k) {
				t.Errorf("%s: event %d differs", name, i)
			}
		}
		want := *o
		want.Scenario, want.Queue, got.Queue = tc.overflow, nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, got, want)
		}
		pour, rest, err := d.DecodePour(append(c.AppendPour(nil, p), "after"...))
		if err != nil || string(rest) != "after" || (pour == nil) != (tc.pour < 0) {
			t.Fatalf("%s: pour %+v, rest %q, %v", name, pour, rest, err)
		}
		if pour != nil {
			event := pour.Event
			pour.Event = nil
			wanted := *p
			wanted.Scenario, wanted.Event = tc.pour, nil
			if *pour != wanted || keptState(event) != keptState(k) {
				t.Errorf("%s: got  %+v\nwant %+v", name, *pour, wanted)
			}
		}
	}
}

// goldenBytes are what each version wrote, by name.
const goldenFile = "testdata/keptcode-v1"

// TestYesterdaysEvents reads what version 1 wrote.
func TestYesterdaysEvents(t *testing.T) {
	schema := codeSchema()
	if *update {
		dict := state.NewDictionary()
		c := NewKeptCoder(schema, dict, codeScenarios)
		var arena KeptArena
		k := arena.Keep(richEvent(schema), &KeepSet{Whole: true})
		out := fmt.Sprintf("kept %x\noverflow %x\npour %x\n", c.Append(nil, k), c.AppendOverflow(nil, codeOverflow(k)),
			c.AppendPour(nil, &Pour{Scenario: 1, Key: "a", Event: k}))
		var w state.Writer
		dict.Save(&w)
		if err := w.Each(func(k, v []byte) error { out += fmt.Sprintf("number %x %x\n", k, v); return nil }, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(goldenFile + ".hex"); err == nil {
			t.Fatal("what version 1 wrote does not change")
		}
		if err := os.WriteFile(goldenFile+".hex", []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, dict := goldenBytes(t)
	c := NewKeptCoder(schema, dict, codeScenarios)
	k, _, err := c.Decode(data["kept"])
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := c.DecodeOverflow(data["overflow"])
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := c.DecodePour(data["pour"])
	if err != nil || p == nil {
		t.Fatal(err)
	}
	queue := o.Queue
	o.Queue = nil
	got := fmt.Sprintf("%s\n%+v %d\n%d %q\n", keptState(k), o, len(queue), p.Scenario, p.Key)
	if *update {
		if err := os.WriteFile(goldenFile+".golden", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile + ".golden")
	if err != nil || got != string(want) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
	}
}

func goldenBytes(t testing.TB) (map[string][]byte, *state.Dictionary) {
	text, err := os.ReadFile(goldenFile + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	out, dict := map[string][]byte{}, state.NewDictionary()
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		var parts [][]byte
		for _, w := range words[1:] {
			b, err := hex.DecodeString(w)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, b)
		}
		if words[0] != "number" {
			out[words[0]] = parts[0]
		} else if err := dict.Load(parts[0], parts[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := dict.Loaded(); err != nil {
		t.Fatal(err)
	}
	return out, dict
}

func TestCutRecordsAreRefused(t *testing.T) {
	data, dict := goldenBytes(t)
	c := NewKeptCoder(codeSchema(), dict, codeScenarios)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		b := data[name]
		for n := range b {
			var err error
			switch name {
			case "kept":
				_, _, err = c.Decode(b[:n])
			case "overflow":
				_, _, err = c.DecodeOverflow(b[:n])
			case "pour":
				_, _, err = c.DecodePour(b[:n])
			}
			if err == nil {
				t.Fatalf("%s: the first %d bytes of %d are taken for the whole", name, n, len(b))
			}
		}
	}
}

// FuzzKeptCoder reads bytes that nobody wrote. What is read can be used, and
// written and read again.
func FuzzKeptCoder(f *testing.F) {
	data, _ := goldenBytes(f)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		f.Add(data[name])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, dict := goldenBytes(t)
		c := NewKeptCoder(codeSchema(), dict, codeScenarios)
		if k, _, err := c.Decode(b); err == nil {
			k.View()
			again, rest, err := c.Decode(c.Append(nil, k))
			if err != nil || len(rest) > 0 || keptState(again) != keptState(k) {
				t.Errorf("read %s\nthen %v, rest %q", keptState(k), err, rest)
			}
		}
		if o, _, err := c.DecodeOverflow(b); err == nil {
			if _, rest, err := c.DecodeOverflow(c.AppendOverflow(nil, &o)); err != nil || len(rest) > 0 {
				t.Errorf("an overflow, then %v, rest %q", err, rest)
			}
		}
		if p, _, err := c.DecodePour(b); err == nil && p != nil {
			if _, rest, err := c.DecodePour(c.AppendPour(nil, p)); err != nil || len(rest) > 0 {
				t.Errorf("a pour, then %v, rest %q", err, rest)
			}
		}
	})
}
