package s3

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"sluice/pipeline"
	"sluice/sinks"
)

// row is an alert in Parquet. Columns are only ever added, at the end, so that
// tables over old and new objects read both: docs/alert-parquet.md has them.
// Times are microseconds since 1970, UTC.
type row struct {
	UUID            string        `parquet:"uuid"`
	Scenario        string        `parquet:"scenario,dict"`
	ScenarioVersion string        `parquet:"scenario_version,dict"`
	ScenarioHash    string        `parquet:"scenario_hash,dict"`
	Kind            string        `parquet:"kind,dict"`
	Message         string        `parquet:"message"`
	CreatedAt       *int64        `parquet:"created_at,optional,timestamp(microsecond)"`
	StartAt         *int64        `parquet:"start_at,optional,timestamp(microsecond)"`
	StopAt          *int64        `parquet:"stop_at,optional,timestamp(microsecond)"`
	EventsCount     int32         `parquet:"events_count"`
	Capacity        int32         `parquet:"capacity"`
	Leakspeed       string        `parquet:"leakspeed,dict"`
	Simulated       bool          `parquet:"simulated"`
	Remediation     bool          `parquet:"remediation"`
	Labels          []string      `parquet:"labels,list"`
	SourceScope     string        `parquet:"source_scope,dict"`
	SourceValue     string        `parquet:"source_value"`
	SourceIP        *string       `parquet:"source_ip,optional"`
	SourceRange     *string       `parquet:"source_range,optional"`
	SourceAsNumber  *string       `parquet:"source_as_number,optional"`
	SourceAsName    *string       `parquet:"source_as_name,optional"`
	SourceCountry   *string       `parquet:"source_country,optional"`
	SourceLatitude  *float32      `parquet:"source_latitude,optional"`
	SourceLongitude *float32      `parquet:"source_longitude,optional"`
	Meta            []rowMeta     `parquet:"meta,list"`
	Events          []rowEvent    `parquet:"events,list"`
	Decisions       []rowDecision `parquet:"decisions,list"`
	ScenarioLabels  *string       `parquet:"scenario_labels,optional"`
	BucketKey       string        `parquet:"bucket_key"`
	Ordinal         int32         `parquet:"ordinal"`
	Depth           int32         `parquet:"depth"`
	Cause           rowPosition   `parquet:"cause"`
	First           rowPosition   `parquet:"first"`
}

type rowMeta struct {
	Key   string `parquet:"key,dict"`
	Value string `parquet:"value"`
}

type rowEvent struct {
	Timestamp *int64    `parquet:"timestamp,optional,timestamp(microsecond)"`
	Meta      []rowMeta `parquet:"meta,list"`
}

type rowDecision struct {
	UUID      string `parquet:"uuid"`
	Origin    string `parquet:"origin,dict"`
	Type      string `parquet:"type,dict"`
	Scope     string `parquet:"scope,dict"`
	Value     string `parquet:"value"`
	Duration  string `parquet:"duration,dict"`
	Until     *int64 `parquet:"until,optional,timestamp(microsecond)"`
	Scenario  string `parquet:"scenario,dict"`
	Simulated bool   `parquet:"simulated"`
}

type rowPosition struct {
	Source    string `parquet:"source,dict"`
	Topic     string `parquet:"topic,dict"`
	Partition int32  `parquet:"partition"`
	Offset    int64  `parquet:"offset"`
	Line      int32  `parquet:"line"`
}

func (c *Config) encodeParquet(p *partition, rejected *sinks.RejectedError) ([]byte, error) {
	rows := make([]row, 0, len(p.alerts))
	kept := 0
	for i, a := range p.alerts {
		r, err := newRow(a)
		if err != nil {
			reject(rejected, p.indexes[i], err)
			continue
		}
		rows = append(rows, r)
		p.alerts[kept], p.indexes[kept] = a, p.indexes[i]
		kept++
	}
	p.alerts, p.indexes = p.alerts[:kept], p.indexes[:kept]
	var codec compress.Codec = &parquet.Uncompressed
	switch c.Compression {
	case compressGzip:
		codec = &parquet.Gzip
	case compressZstd:
		codec = &parquet.Zstd
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[row](&out, parquet.Compression(codec))
	if _, err := w.Write(rows); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return out.Bytes(), nil
}

// newRow fails for an alert whose labels are no JSON.
func newRow(a *pipeline.Alert) (row, error) {
	r := row{
		UUID: a.UUID, Scenario: a.Scenario, ScenarioVersion: a.ScenarioVersion, ScenarioHash: a.ScenarioHash, Kind: a.Kind, Message: a.Message,
		CreatedAt: micros(a.CreatedAt), StartAt: micros(a.StartAt), StopAt: micros(a.StopAt),
		EventsCount: a.EventsCount, Capacity: a.Capacity, Leakspeed: a.Leakspeed, Simulated: a.Simulated, Remediation: a.Remediation, Labels: a.Labels,
		Meta: newMeta(a.Meta), BucketKey: a.Sluice.Key, Ordinal: a.Sluice.Ordinal, Depth: a.Sluice.Depth,
		Cause: newPosition(a.Sluice.Cause), First: newPosition(a.Sluice.First),
	}
	if s := a.Source; s != nil {
		r.SourceScope, r.SourceValue = s.Scope, s.Value
		r.SourceIP, r.SourceRange, r.SourceAsNumber, r.SourceAsName, r.SourceCountry = some(s.IP), some(s.Range), some(s.AsNumber), some(s.AsName), some(s.Cn)
		if s.Latitude != 0 || s.Longitude != 0 {
			r.SourceLatitude, r.SourceLongitude = &s.Latitude, &s.Longitude
		}
	}
	for _, e := range a.Events {
		r.Events = append(r.Events, rowEvent{micros(e.Timestamp), newMeta(e.Meta)})
	}
	for _, d := range a.Decisions {
		r.Decisions = append(r.Decisions, rowDecision{
			UUID: d.UUID, Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Duration: d.Duration,
			Until: micros(d.Until), Scenario: d.Scenario, Simulated: d.Simulated,
		})
	}
	if len(a.Sluice.Labels) > 0 {
		text, err := json.Marshal(a.Sluice.Labels)
		if err != nil {
			return row{}, fmt.Errorf("alert %s of scenario %s has labels that are no JSON: %w", a.UUID, a.Scenario, err)
		}
		r.ScenarioLabels = some(string(text))
	}
	return r, nil
}

// some returns nil for an empty text.
func some(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// micros reads a time; nil when there is none.
func micros(text string) *int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func newMeta(meta []pipeline.MetaItem) []rowMeta {
	out := make([]rowMeta, len(meta))
	for i, m := range meta {
		out[i] = rowMeta(m)
	}
	return out
}

func newPosition(p pipeline.Position) rowPosition {
	return rowPosition{Source: p.Source, Topic: p.Topic, Partition: p.ID, Offset: p.Offset, Line: p.Line}
}
