package victorialogs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/internal/logquery"
)

// Config says which lines of which VictoriaLogs are read. Start from Default.
type Config struct {
	logquery.Config `yaml:",inline"`

	// AccountID is the account of the tenant whose lines are read.
	AccountID uint32 `yaml:"account_id"`
	// ProjectID is the project of the tenant whose lines are read.
	ProjectID uint32 `yaml:"project_id"`
	// MessageField is the field that is the line.
	MessageField string `yaml:"message_field"`
	// HeaderFields are fields that become headers of the record, for `decode: {labels_from: {host: "header:host"}}`.
	HeaderFields []string `yaml:"header_fields"`
}

// Default returns the configuration of no VictoriaLogs yet.
func Default() Config { return Config{Config: logquery.Default(), MessageField: "_msg"} }

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.MessageField == "" {
		return component.Invalid("message_field", "name the field that is the line, such as _msg")
	}
	if slices.Contains(c.HeaderFields, "") {
		return component.Invalid("header_fields", "a name is empty")
	}
	return c.Config.Validate("app:nginx")
}

// backend speaks LogsQL.
type backend struct {
	account, project uint32
	message          string
	headers          []string
}

// Ready implements logquery.Backend.
func (*backend) Ready() string { return "/health" }

// Header implements logquery.Backend.
func (b *backend) Header() http.Header {
	if b.account == 0 && b.project == 0 {
		return nil
	}
	out := make(http.Header)
	out.Set("AccountID", strconv.FormatUint(uint64(b.account), 10))
	out.Set("ProjectID", strconv.FormatUint(uint64(b.project), 10))
	return out
}

// stamp has all digits, since VictoriaLogs takes a time with fewer for the whole of its last unit.
const stamp = "2006-01-02T15:04:05.000000000Z"

// Request implements logquery.Backend. The query's own limit would give the newest lines.
func (*backend) Request(query string, from, to int64, limit int) (string, url.Values) {
	return "/select/logsql/query", url.Values{
		"query": {fmt.Sprintf("%s | sort by (_time) limit %d", strings.TrimSpace(query), limit)},
		"start": {time.Unix(0, from).UTC().Format(stamp)}, "end": {time.Unix(0, to).UTC().Format(stamp)},
	}
}

// Decode implements logquery.Backend. Each line of the answer is an object of texts.
func (b *backend) Decode(text []byte) ([]logquery.Line, error) {
	var lines []logquery.Line
	for row := range bytes.Lines(text) {
		if len(bytes.TrimSpace(row)) == 0 {
			continue
		}
		var fields map[string]string
		if err := json.Unmarshal(row, &fields); err != nil {
			return nil, fmt.Errorf("a line of VictoriaLogs' answer: %w", err)
		}
		at, err := time.Parse(time.RFC3339Nano, fields["_time"])
		if err != nil || at.Year() < 1970 || at.Year() > 2261 {
			return nil, fmt.Errorf("a line of VictoriaLogs' answer has %.40q as its _time: leave the field as it is in the query's pipes", fields["_time"])
		}
		line := logquery.Line{At: at.UnixNano(), Text: []byte(fields[b.message])}
		for _, name := range b.headers {
			if value, ok := fields[name]; ok {
				line.Headers = append(line.Headers, pipeline.Header{Key: name, Value: []byte(value)})
			}
		}
		delete(fields, "_time")
		delete(fields, b.message)
		stream, err := json.Marshal(fields) // sorted by name
		if err != nil {
			return nil, err
		}
		line.Stream = string(stream)
		lines = append(lines, line)
	}
	return lines, nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "victorialogs",
		Summary:  "What a LogsQL query finds in VictoriaLogs, from a time on and as it comes.",
		Delivery: "exactly once, of lines no later than `overlap`",
		Description: "Asks again and again for the lines since a place that stays behind the present by `overlap`, and leaves out those that it has had, so that lines with equal times " +
			"and lines that turn up late are read, and none is counted twice. Place and what was read lie in a journal together with the records. VictoriaLogs' endpoint for tails is not used: " +
			"it leaves out what comes while a connection is gone.\n\n" +
			"A record is the field `_msg`, its time `_time`. The query may have pipes that filter and change fields, and must leave `_time` as it is. " +
			"With `follow: false` it reads from `since` until `until`, and ends.",
		Example: "url: http://localhost:9428\nquery: 'app:nginx'\nlabels: {type: nginx}\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			b := &backend{account: c.AccountID, project: c.ProjectID, message: c.MessageField, headers: c.HeaderFields}
			return logquery.New(name, "victorialogs", c.Config, b, env)
		},
	})
}
