package overflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// Options configure a Builder.
type Options struct {
	// ContextLength bounds the bytes of one context value; 4000 when 0.
	ContextLength int
	// Simulated tells whether a scenario runs in simulation: its alerts and decisions are marked.
	Simulated func(scenario string) bool
}

// Builder makes alerts of overflows. It is immutable and safe for concurrent use.
type Builder struct {
	opts      Options
	scenarios []*rules.Scenario
	contexts  []contextField
	slots     sourceSlots
}

type sourceSlots struct {
	ip, sourceRange, asNumber, asnNumber, asOrg, country, latitude, longitude pipeline.Slot
}

// NewBuilder compiles the alert contexts and returns a builder for the
// scenarios, whose indexes are those of pipeline.Overflow.
func NewBuilder(scenarios []*rules.Scenario, contexts []rules.ContextEntry, c *expression.Compiler, schema *pipeline.Schema, opts Options) (*Builder, error) {
	if opts.ContextLength == 0 {
		opts.ContextLength = 4000
	}
	fields, err := compileContexts(contexts, c)
	if err != nil {
		return nil, err
	}
	return &Builder{opts: opts, scenarios: scenarios, contexts: fields, slots: sourceSlots{
		ip:          schema.Slot(pipeline.Meta, "source_ip"),
		sourceRange: schema.Slot(pipeline.Meta, "SourceRange"),
		asNumber:    schema.Slot(pipeline.Enriched, "ASNumber"),
		asnNumber:   schema.Slot(pipeline.Enriched, "ASNNumber"),
		asOrg:       schema.Slot(pipeline.Enriched, "ASNOrg"),
		country:     schema.Slot(pipeline.Enriched, "IsoCode"),
		latitude:    schema.Slot(pipeline.Enriched, "Latitude"),
		longitude:   schema.Slot(pipeline.Enriched, "Longitude"),
	}}, nil
}

// AddReads adds what the builder reads of kept events to a KeepSet.
func (b *Builder) AddReads(set *pipeline.KeepSet) {
	s := b.slots
	set.Slots = append(set.Slots, s.asNumber, s.asnNumber, s.asOrg, s.country, s.latitude, s.longitude)
	for _, f := range b.contexts {
		for _, p := range f.programs {
			a := p.Analysis()
			set.Slots = append(set.Slots, a.Reads...)
			set.Unmarshaled = set.Unmarshaled || a.ReadsUnmarshaled
			set.Whole = set.Whole || a.ReadsWhole
		}
	}
}

// The reasons why an overflow makes no alert, for counters.
var (
	// ErrNoSource: a scenario of scope Ip or Range kept an event without a valid evt.Meta.source_ip (FIDELITY 22).
	ErrNoSource = errors.New("an event has no valid source_ip")
	// ErrBadRange: evt.Meta.SourceRange is not a network.
	ErrBadRange = errors.New("an event has a bad SourceRange")
	// ErrNoRange: a scenario of scope Range kept an event whose range is not
	// known; a decision on an empty range would mean nothing, or everything.
	ErrNoRange = errors.New("an event has no range")
	// ErrNoScope: the scenario has a scope of its own without an expression.
	ErrNoScope = errors.New("the scope has no expression")
)

// Build makes the alert of an overflow. An error says why there is none.
func (b *Builder) Build(o *pipeline.Overflow) (*pipeline.RuntimeAlert, error) {
	sc := b.scenarios[o.Scenario]
	sources, err := b.sources(sc, o)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", sc.Name, err)
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("scenario %s: %w", sc.Name, ErrNoSource)
	}
	base := pipeline.Alert{
		Kind:            "crowdsec",
		Scenario:        sc.Name,
		ScenarioHash:    sc.Hash,
		ScenarioVersion: sc.Version,
		EventsCount:     o.Count,
		StartAt:         stamp(o.FirstTime),
		StopAt:          stamp(o.LastTime),
		Capacity:        int32(sc.Capacity),
		Leakspeed:       sc.LeakSpeed.String(),
		Simulated:       b.opts.Simulated != nil && b.opts.Simulated(sc.Name),
		Remediation:     sc.Labels["remediation"] == true,
		Events:          alertEvents(o.Queue),
		Decisions:       []pipeline.Decision{},
		Sluice: pipeline.AlertOrigin{
			Key: o.Key, Ordinal: o.Ordinal, Depth: o.Depth, Cause: o.Cause, First: o.First,
			Labels: sc.Labels, StartTime: o.FirstTime, StopTime: o.LastTime,
		},
	}
	base.Message = message(sc, o, sources)
	base.Meta, _ = b.contextOf(o.Queue)
	ra := &pipeline.RuntimeAlert{
		Mapkey: o.Key, Reprocess: sc.Reprocess, Sources: sources, Time: o.LastTime,
	}
	for _, value := range ra.GetSources() {
		a := base
		src := sources[value]
		a.Source = &src
		a.UUID = alertID(sc, o, value, src)
		ra.APIAlerts = append(ra.APIAlerts, a)
	}
	ra.Alert = &ra.APIAlerts[0]
	return ra, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func message(sc *rules.Scenario, o *pipeline.Overflow, sources map[string]pipeline.Source) string {
	who := fmt.Sprintf("%d sources", len(sources))
	scope := ""
	for v, s := range sources {
		scope = s.Scope
		if len(sources) == 1 {
			who = v
		}
	}
	return fmt.Sprintf("%s %s performed '%s' (%d events over %s) at %s",
		scope, who, sc.Name, o.Count, o.LastTime.Sub(o.FirstTime), stamp(o.LastTime))
}

func alertEvents(queue []*pipeline.Kept) []pipeline.AlertEvent {
	events := make([]pipeline.AlertEvent, 0, len(queue))
	for _, k := range queue {
		e := pipeline.AlertEvent{Timestamp: k.Get(pipeline.SlotMarshaledTime), Meta: []pipeline.MetaItem{}}
		if e.Timestamp == "" {
			e.Timestamp = stamp(k.Time)
		}
		k.Each(pipeline.Meta, func(name, value string) {
			e.Meta = append(e.Meta, pipeline.MetaItem{Key: name, Value: value})
		})
		slices.SortFunc(e.Meta, func(a, b pipeline.MetaItem) int { return strings.Compare(a.Key, b.Key) })
		events = append(events, e)
	}
	return events
}

// sluiceSpace is the namespace of alert ids (UUIDv5 of a name of ours).
var sluiceSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("sluice:alert"))

// alertID derives the id from what made the alert, so that a crash or
// another run gives the same, and a sink can drop a repeat. key is what the
// source is found by: a postoverflow parser may have given several sources one value.
func alertID(sc *rules.Scenario, o *pipeline.Overflow, key string, src pipeline.Source) string {
	parts := []any{
		sc.Name, sc.Hash, o.Key, src.Scope, src.Value, o.First, o.Cause,
		o.FirstTime.UnixNano(), o.LastTime.UnixNano(), o.Ordinal, o.Depth,
	}
	if key != src.Value {
		parts = append(parts, key)
	}
	if !utf8.ValidString(o.Key) || !utf8.ValidString(src.Value) {
		// JSON has one replacement for every byte that is no UTF-8.
		parts = append(parts, []byte(o.Key), []byte(src.Value))
	}
	name, err := json.Marshal(parts) // keeps the parts apart whatever they hold
	if err != nil {                  // strings, numbers and plain structs marshal
		name = []byte(o.Key)
	}
	return uuid.NewSHA1(sluiceSpace, name).String()
}

func (b *Builder) sources(sc *rules.Scenario, o *pipeline.Overflow) (map[string]pipeline.Source, error) {
	out := make(map[string]pipeline.Source)
	for i, k := range o.Queue {
		scope := ""
		if i < len(o.Scopes) {
			scope = o.Scopes[i]
		}
		var err error
		if k.Type == pipeline.OverflowEvent {
			alertSources(out, sc, k.Overflow, scope)
		} else {
			err = b.eventSource(out, sc, k, scope)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

const (
	scopeIP    = "Ip"
	scopeRange = "Range"
)

func scopeOf(sc *rules.Scenario) string {
	if sc.ScopeType == "" {
		return scopeIP
	}
	return sc.ScopeType
}

// eventSource adds the source of a log line.
func (b *Builder) eventSource(out map[string]pipeline.Source, sc *rules.Scenario, k *pipeline.Kept, scope string) error {
	kind := scopeOf(sc)
	if kind != scopeIP && kind != scopeRange {
		if !sc.ScopeExpr.Set {
			return ErrNoScope
		}
		out[scope] = pipeline.Source{Scope: kind, Value: scope}
		return nil
	}
	ip := k.Get(b.slots.ip)
	if _, err := netip.ParseAddr(ip); err != nil {
		return ErrNoSource
	}
	src := pipeline.Source{
		Scope: kind, IP: ip, Value: ip,
		AsNumber: k.Get(b.slots.asNumber), AsName: k.Get(b.slots.asOrg), Cn: k.Get(b.slots.country),
		Latitude: coordinate(k.Get(b.slots.latitude)), Longitude: coordinate(k.Get(b.slots.longitude)),
	}
	if !k.Has(b.slots.asNumber) {
		src.AsNumber = k.Get(b.slots.asnNumber)
	}
	if r := k.Get(b.slots.sourceRange); r != "" {
		net, err := netip.ParsePrefix(r)
		if err != nil {
			return ErrBadRange
		}
		src.Range = net.Masked().String()
	}
	if kind == scopeRange {
		src.Value = src.Range
		if sc.ScopeExpr.Set {
			src.Value = scope
		}
		if src.Value == "" {
			return ErrNoRange
		}
	}
	out[src.Value] = src
	return nil
}

func coordinate(s string) float32 {
	f, err := strconv.ParseFloat(s, 32)
	if err != nil {
		return 0
	}
	return float32(f)
}

// alertSources adds the sources of an alert that was poured again, made to
// fit the scenario's scope: the same scope is taken over, an address gives
// its range, anything else is left out.
func alertSources(out map[string]pipeline.Source, sc *rules.Scenario, alert *pipeline.RuntimeAlert, scope string) {
	kind := scopeOf(sc)
	for _, value := range alert.GetSources() { // sorted: of several addresses of a range, the last speaks for it
		s := alert.Sources[value]
		switch {
		case s.Scope == kind:
			out[value] = s
		case kind == scopeRange && s.Scope == scopeIP:
			s.Scope, s.IP, s.Value = kind, "", s.Range
			if sc.ScopeExpr.Set {
				s.Value = scope
			}
			if s.Value != "" {
				out[s.Value] = s
			}
		}
	}
}
