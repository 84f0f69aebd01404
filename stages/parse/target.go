package parse

import (
	"strings"

	"sluice/pipeline"
)

// target is a place of an event that rules name by a path: a slot, a key of
// evt.Unmarshaled, or a field of the alert.
type target struct {
	slot        pipeline.Slot
	unmarshaled string // key in evt.Unmarshaled
	alert       func(a *pipeline.RuntimeAlert, value string)
	text        string // as an expression writes it
	isTime      bool   // writing it sets the event's time
}

// coreTargets are the scalar fields by their paths.
var coreTargets = map[string]pipeline.Slot{
	"Line.Raw": pipeline.SlotLineRaw, "Line.Src": pipeline.SlotLineSrc, "Line.Module": pipeline.SlotLineModule,
	"StrTime": pipeline.SlotStrTime, "StrTimeFormat": pipeline.SlotStrTimeFormat,
	"MarshaledTime": pipeline.SlotMarshaledTime, "WhitelistReason": pipeline.SlotWhitelistReason,
}

// alertTargets are the fields of an alert that postoverflow statics may write.
var alertTargets = map[string]func(*pipeline.RuntimeAlert, string){
	"Overflow.Mapkey":         func(a *pipeline.RuntimeAlert, v string) { a.Mapkey = v },
	"Overflow.Alert.Scenario": alertField(func(a *pipeline.Alert, v string) { a.Scenario = v }),
	"Overflow.Alert.Message":  alertField(func(a *pipeline.Alert, v string) { a.Message = v }),
	"Overflow.Alert.ScenarioVersion": alertField(func(a *pipeline.Alert, v string) {
		a.ScenarioVersion = v
	}),
	"Overflow.Alert.Source.Value":    sourceField(func(s *pipeline.Source, v string) { s.Value = v }),
	"Overflow.Alert.Source.Scope":    sourceField(func(s *pipeline.Source, v string) { s.Scope = v }),
	"Overflow.Alert.Source.IP":       sourceField(func(s *pipeline.Source, v string) { s.IP = v }),
	"Overflow.Alert.Source.Range":    sourceField(func(s *pipeline.Source, v string) { s.Range = v }),
	"Overflow.Alert.Source.AsNumber": sourceField(func(s *pipeline.Source, v string) { s.AsNumber = v }),
	"Overflow.Alert.Source.AsName":   sourceField(func(s *pipeline.Source, v string) { s.AsName = v }),
	"Overflow.Alert.Source.Cn":       sourceField(func(s *pipeline.Source, v string) { s.Cn = v }),
}

func alertField(set func(*pipeline.Alert, string)) func(*pipeline.RuntimeAlert, string) {
	return func(a *pipeline.RuntimeAlert, v string) {
		if a.Alert != nil {
			set(a.Alert, v)
		}
	}
}

func sourceField(set func(*pipeline.Source, string)) func(*pipeline.RuntimeAlert, string) {
	return alertField(func(a *pipeline.Alert, v string) {
		if a.Source == nil {
			a.Source = &pipeline.Source{}
		}
		set(a.Source, v)
	})
}

// resolve finds what a path names; the leading "evt." may be missing. Like
// CrowdSec's, it takes the one name behind the name of a map as the key and
// ignores what follows.
func resolve(path string, schema *pipeline.Schema) (target, bool) {
	path = strings.TrimPrefix(path, "evt.")
	t := target{slot: pipeline.NoSlot, text: "evt." + path}
	if slot, ok := coreTargets[path]; ok {
		t.slot, t.isTime = slot, slot == pipeline.SlotMarshaledTime
		return t, true
	}
	if set, ok := alertTargets[path]; ok {
		t.alert = set
		return t, true
	}
	head, rest, ok := strings.Cut(path, ".")
	if head == "Line" {
		head, rest, ok = strings.Cut(rest, ".")
	}
	key, _, _ := strings.Cut(rest, ".")
	if !ok || key == "" {
		return target{}, false
	}
	switch head {
	case "Parsed":
		t.slot = schema.Slot(pipeline.Parsed, key)
	case "Meta":
		t.slot = schema.Slot(pipeline.Meta, key)
	case "Enriched":
		t.slot = schema.Slot(pipeline.Enriched, key)
	case "Labels":
		t.slot = schema.Slot(pipeline.Label, key)
	case "Unmarshaled":
		t.unmarshaled = key
	default:
		return target{}, false
	}
	return t, true
}

// write sets the target.
func (t *target) write(r *Runner, ev *pipeline.Event, value string) {
	switch {
	case t.slot != pipeline.NoSlot:
		ev.Set(t.slot, value)
		if t.isTime {
			r.enrich.SetTime(ev, value)
		}
	case t.unmarshaled != "":
		if ev.Unmarshaled == nil {
			ev.Unmarshaled = make(map[string]any)
		}
		ev.Unmarshaled[t.unmarshaled] = value
	case t.alert != nil && ev.Overflow != nil:
		t.alert(ev.Overflow, value)
	}
}
