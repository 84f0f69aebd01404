package pipeline

import "time"

// View is an event in the shape that CrowdSec gives to expressions: maps of
// strings under the names of its documentation. It is built for the slow,
// plain paths: the expr VM on whole events, a bucket's queue in a condition,
// the assertions of hub tests. The fast path never makes one.
type View struct {
	Type            int // 0 a log line, 1 an overflow
	ExpectMode      int
	Whitelisted     bool
	WhitelistReason string
	Stage           string
	Line            LineView
	Parsed          map[string]string
	Enriched        map[string]string
	Unmarshaled     map[string]any
	Meta            map[string]string
	Overflow        RuntimeAlert
	Time            time.Time
	StrTime         string
	StrTimeFormat   string
	MarshaledTime   string
	Process         bool
}

// LineView is View's Line.
type LineView struct {
	Raw     string
	Src     string
	Time    time.Time
	Labels  map[string]string
	Process bool
	Module  string
}

// GetType returns "overflow" or "log", as rules compare it.
func (v *View) GetType() string {
	if v.Type == int(OverflowEvent) {
		return "overflow"
	}
	return "log"
}

// GetMeta returns a Meta field of the event or, for an overflow, the first
// value that an event of one of its alerts has for it.
func (v *View) GetMeta(key string) string {
	if v.Type == int(OverflowEvent) {
		for i := range v.Overflow.APIAlerts {
			for _, e := range v.Overflow.APIAlerts[i].Events {
				if s := e.GetMeta(key); s != "" {
					return s
				}
			}
		}
		return ""
	}
	return v.Meta[key]
}

// View copies the event into maps. Unmarshaled is shared, not copied, so
// that a helper that writes to it writes to the event.
func (e *Event) View() *View {
	if e.Unmarshaled == nil {
		e.Unmarshaled = make(map[string]any)
	}
	v := &View{
		Type:            int(e.Type),
		ExpectMode:      1,
		Whitelisted:     e.Whitelisted,
		WhitelistReason: e.Get(SlotWhitelistReason),
		Parsed:          make(map[string]string),
		Enriched:        make(map[string]string),
		Meta:            make(map[string]string),
		Unmarshaled:     e.Unmarshaled,
		Line: LineView{
			Raw: e.Get(SlotLineRaw), Src: e.Get(SlotLineSrc), Module: e.Get(SlotLineModule),
			Time: e.Received, Labels: make(map[string]string), Process: true,
		},
		Time:          e.Time,
		StrTime:       e.Get(SlotStrTime),
		StrTimeFormat: e.Get(SlotStrTimeFormat),
		MarshaledTime: e.Get(SlotMarshaledTime),
		Process:       true,
	}
	if e.Overflow != nil {
		v.Overflow = *e.Overflow
	}
	for space, m := range map[Namespace]map[string]string{
		Parsed: v.Parsed, Enriched: v.Enriched, Meta: v.Meta, Label: v.Line.Labels,
	} {
		e.Each(space, func(name, value string) { m[name] = value })
	}
	return v
}
