package loki

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/internal/logquery"
)

// Config says which lines of which Loki are read. Start from Default.
type Config struct {
	logquery.Config `yaml:",inline"`

	// Tenant is the organisation whose lines are read: the header X-Scope-OrgID.
	Tenant string `yaml:"tenant"`
}

// Default returns the configuration of no Loki yet.
func Default() Config { return Config{Config: logquery.Default()} }

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.Limit > 5000*20 {
		return component.Invalid("limit", "%d is more than any Loki allows; max_entries_limit_per_query is 5000 unless set otherwise", c.Limit)
	}
	return c.Config.Validate(`{job="nginx"}`)
}

// backend speaks LogQL. Its zero value has no tenant.
type backend struct{ tenant string }

// Ready implements logquery.Backend.
func (backend) Ready() string { return "/ready" }

// Header implements logquery.Backend.
func (b backend) Header() http.Header {
	if b.tenant == "" {
		return nil
	}
	return http.Header{"X-Scope-Orgid": {b.tenant}}
}

// Request implements logquery.Backend.
func (backend) Request(query string, from, to int64, limit int) (string, url.Values) {
	return "/loki/api/v1/query_range", url.Values{
		"query": {query}, "start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
		"limit": {strconv.Itoa(limit)}, "direction": {"forward"},
	}
}

// answer is Loki's to query_range.
type answer struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
}

// stream is what the answer has of lines with the same labels.
type stream struct {
	Stream map[string]string `json:"stream"`
	// Values are a time in nanoseconds, a line, and perhaps metadata.
	Values [][]json.RawMessage `json:"values"`
}

// Decode implements logquery.Backend.
func (backend) Decode(text []byte) ([]logquery.Line, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("reading Loki's answer: %w", err)
	}
	if a.Data.ResultType != "streams" {
		return nil, fmt.Errorf("the query's result is of type %.40q, where lines are needed: leave out functions that compute numbers", a.Data.ResultType)
	}
	var result []stream
	if err := json.Unmarshal(a.Data.Result, &result); err != nil {
		return nil, fmt.Errorf("reading Loki's answer: %w", err)
	}
	var lines []logquery.Line
	for _, r := range result {
		labels, err := json.Marshal(r.Stream) // sorted by name
		if err != nil {
			return nil, err
		}
		headers := headersOf(r.Stream)
		for _, v := range r.Values {
			line, err := lineOf(v)
			if err != nil {
				return nil, err
			}
			line.Stream, line.Headers = string(labels), headers
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func lineOf(v []json.RawMessage) (line logquery.Line, err error) {
	var at, text string
	if len(v) < 2 {
		return line, fmt.Errorf("an entry of Loki's answer has %d values, where a time and a line are needed", len(v))
	}
	if err = json.Unmarshal(v[0], &at); err == nil {
		line.At, err = strconv.ParseInt(at, 10, 64)
	}
	if err == nil {
		err = json.Unmarshal(v[1], &text)
	}
	if err != nil {
		return line, fmt.Errorf("an entry of Loki's answer: %w", err)
	}
	line.Text = []byte(text)
	return line, nil
}

// headersOf makes headers of a stream's labels.
func headersOf(labels map[string]string) []pipeline.Header {
	out := make([]pipeline.Header, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, pipeline.Header{Key: name, Value: []byte(labels[name])})
	}
	return out
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "loki",
		Summary:  "What a LogQL query finds in Grafana Loki, from a time on and as it comes.",
		Delivery: "exactly once, of lines no later than `overlap`",
		Description: "Asks again and again for the lines since a place that stays behind the present by `overlap`, and leaves out those that it has had, so that lines with equal times " +
			"and lines that turn up late are read, and none is counted twice. Place and what was read lie in a journal together with the records. Loki's endpoint for tails is not used: " +
			"it leaves out what comes while a connection is gone or its reader is slow.\n\n" +
			"A record is a line, its time the line's. The labels of its stream are headers, so that `decode: {labels_from: {host: \"header:host\"}}` makes one a label. " +
			"With `follow: false` it reads from `since` until `until`, and ends.\n\n" +
			"It was tested on a server made by the description of Loki's API, not on Loki itself.",
		Example: "url: http://localhost:3100\nquery: '{job=\"nginx\"}'\nlabels: {type: nginx}\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return logquery.New(name, "loki", c.Config, backend{c.Tenant}, env)
		},
	})
}
