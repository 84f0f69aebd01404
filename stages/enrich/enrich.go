package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sluice/pipeline"
	"sluice/stages/enrich/dates"
	"sluice/stages/rules"
)

// Options say where the methods find what they look up.
type Options struct {
	// Data are the rules' data files; those without a type whose name ends
	// in .mmdb are opened, and told apart by the type in their metadata.
	Data []rules.DataFile
	// Names resolves addresses for reverse_dns; nil finds nothing.
	Names Resolver
	// GeoCache bounds the addresses that one Runner remembers; 8192 when 0.
	GeoCache int
}

// Method is one of a Set's methods.
type Method uint8

// The methods, as the hub names them.
const (
	ParseDate Method = iota
	GeoIPCity
	GeoIPASN
	IPToRange
	ReverseDNS
	UnmarshalJSON
)

var methodNames = map[string]Method{
	"ParseDate": ParseDate, "GeoIpCity": GeoIPCity, "GeoIpASN": GeoIPASN,
	"IpToRange": IPToRange, "reverse_dns": ReverseDNS, "UnmarshalJSON": UnmarshalJSON,
}

// Set is the methods with the files that they read: immutable, for any number of goroutines.
type Set struct {
	opts   Options
	city   *database
	asn    *database
	fields slots
}

// slots are the fields of evt.Enriched that the methods write.
type slots struct {
	marshaledTime, isoCode, isInEU, latitude, longitude pipeline.Slot
	asnNumber, asNumber, asnOrg, sourceRange, names     pipeline.Slot
}

// New opens the files. A file that cannot be read as a MaxMind database is an error.
func New(schema *pipeline.Schema, o Options) (*Set, error) {
	if o.GeoCache == 0 {
		o.GeoCache = 8192
	}
	s := &Set{opts: o}
	for _, f := range o.Data {
		if err := s.open(f); err != nil {
			return nil, err
		}
	}
	s.fields = newSlots(schema)
	return s, nil
}

// WithoutFiles returns the methods without a file or a resolver: dates only.
func WithoutFiles(schema *pipeline.Schema) *Set { return &Set{fields: newSlots(schema)} }

func newSlots(schema *pipeline.Schema) slots {
	enriched := func(name string) pipeline.Slot { return schema.Slot(pipeline.Enriched, name) }
	return slots{
		marshaledTime: enriched("MarshaledTime"),
		isoCode:       enriched("IsoCode"), isInEU: enriched("IsInEU"),
		latitude: enriched("Latitude"), longitude: enriched("Longitude"),
		asnNumber: enriched("ASNNumber"), asNumber: enriched("ASNumber"), asnOrg: enriched("ASNOrg"),
		sourceRange: enriched("SourceRange"), names: enriched("reverse_dns"),
	}
}

// Method finds a method by the name that rules use.
func (s *Set) Method(name string) (Method, bool) {
	m, ok := methodNames[name]
	return m, ok
}

// MethodNames lists the names that Method knows, for suggestions; in no promised order.
func (s *Set) MethodNames() []string {
	out := make([]string, 0, len(methodNames))
	for n := range methodNames {
		out = append(out, n)
	}
	return out
}

// Runner calls methods with caches of its own. It belongs to one goroutine.
type Runner struct {
	// Context bounds the look-ups of reverse_dns; nil does not.
	Context context.Context

	set   *Set
	dates dates.Parser
	geo   geoCache
}

// NewRunner returns a Runner with empty caches.
func (s *Set) NewRunner() *Runner {
	return &Runner{set: s, geo: geoCache{limit: s.opts.GeoCache}}
}

// Call runs a method on a value. An error means that a file or the outside
// failed, not that it knows nothing of the value; the event then lacks the fields.
func (r *Runner) Call(m Method, ev *pipeline.Event, value string) error {
	switch m {
	case ParseDate:
		r.parseDate(ev, value)
		return nil
	case GeoIPCity:
		return r.city(ev, value)
	case GeoIPASN:
		return r.network(ev, value)
	case IPToRange:
		return r.sourceRange(ev, value)
	case ReverseDNS:
		return r.reverseDNS(ev, value)
	case UnmarshalJSON:
		return unmarshalLine(ev)
	}
	return fmt.Errorf("enrich: there is no method %d", m)
}

// parseDate sets the event's time and evt.Enriched.MarshaledTime. What is no
// date counts as received now: the event's time stays that of its receipt
// (CrowdSec takes the wall clock instead).
func (r *Runner) parseDate(ev *pipeline.Event, value string) {
	d, ok := r.dates.Parse(value, ev.Get(pipeline.SlotStrTimeFormat), ev.Received)
	if !ok {
		d, ok = r.dates.Parse(ev.Received.UTC().Format(rfc3339Nano), "", ev.Received)
		if !ok {
			return
		}
	}
	ev.Time = d.Time
	ev.Set(r.set.fields.marshaledTime, d.Text)
}

const rfc3339Nano = "2006-01-02T15:04:05.999999999Z07:00"

// SetTime makes a date in RFC 3339 the event's time, as a rule does that
// writes evt.MarshaledTime. A text that is no date changes nothing.
func (r *Runner) SetTime(ev *pipeline.Event, marshaled string) {
	if d, ok := r.dates.Parse(marshaled, rfc3339Nano, ev.Received); ok {
		ev.Time = d.Time
	}
}

func (r *Runner) reverseDNS(ev *pipeline.Event, value string) error {
	if r.set.opts.Names == nil || value == "" {
		return nil
	}
	ctx := r.Context
	if ctx == nil {
		ctx = context.Background()
	}
	names, err := r.set.opts.Names.Lookup(ctx, value)
	if err != nil || len(names) == 0 {
		return err
	}
	ev.Set(r.set.fields.names, names[0])
	return nil
}

// unmarshalLine reads the whole line as JSON into evt.Unmarshaled.
func unmarshalLine(ev *pipeline.Event) error {
	var m map[string]any
	if err := json.Unmarshal([]byte(ev.Get(pipeline.SlotLineRaw)), &m); err != nil {
		return errors.New("UnmarshalJSON: the line is no JSON object: " + err.Error())
	}
	if ev.Unmarshaled == nil {
		ev.Unmarshaled = m
		return nil
	}
	for k, v := range m {
		ev.Unmarshaled[k] = v
	}
	return nil
}
