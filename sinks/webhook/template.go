package webhook

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/template"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks/internal/templates"
)

// data is what templates see.
type data struct {
	// Alert is the first of Alerts.
	Alert  *pipeline.Alert
	Alerts []*pipeline.Alert
	// ID is the Idempotency-Key.
	ID     string
	Values map[string]string
}

// compiled are a configuration's templates.
type compiled struct {
	url, body *template.Template
	headers   map[string]*template.Template
}

// idSpace is the namespace of the keys of requests with several alerts.
var idSpace = uuid.MustParse("5b2ac1c8-2f0b-5c53-9b07-6b0a0cbb5f5a")

// requestID is the same for the same alerts.
func requestID(alerts []pipeline.Alert) string {
	if len(alerts) == 1 {
		return alerts[0].UUID
	}
	var all strings.Builder
	for i := range alerts {
		all.WriteString(alerts[i].UUID)
	}
	return uuid.NewSHA1(idSpace, []byte(all.String())).String()
}

// compile reads the templates. An error blames the key that holds one.
func (c *Config) compile() (*compiled, error) {
	p := presets()[c.Preset]
	functions := templates.Functions(c.Format)
	parse := func(key, text string) (*template.Template, error) {
		t, err := templates.Parse(key, text, functions)
		if err != nil {
			return nil, component.Invalid(strings.SplitN(key, " ", 2)[0], "it is no template: %v", err)
		}
		return t, nil
	}
	out := &compiled{headers: make(map[string]*template.Template)}
	var err error
	if out.url, err = parse("url", c.URL); err != nil {
		return nil, err
	}
	body := c.Body
	if body == "" {
		body = p.body
	}
	if out.body, err = parse("body", body); err != nil {
		return nil, err
	}
	for _, headers := range []map[string]string{p.headers, c.Headers} {
		for name, text := range headers {
			name = http.CanonicalHeaderKey(name)
			if out.headers[name], err = parse("headers "+name, text); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// try runs the templates on specimens. An error blames the key of one that fails on every alert.
func (c *Config) try(t *compiled) error {
	values := make(map[string]string, len(c.Values))
	for name, value := range c.Values {
		values[name] = value.Reveal()
	}
	all := []*template.Template{t.url, t.body}
	for _, name := range slices.Sorted(maps.Keys(t.headers)) {
		all = append(all, t.headers[name])
	}
	for _, a := range templates.Specimens() {
		d := data{Alert: a, Alerts: []*pipeline.Alert{a}, ID: a.UUID, Values: values}
		for _, t := range all {
			if err := templates.Try(t, d); err != nil {
				return component.Invalid(keyOf(t), "its template fails on every alert: %v", err)
			}
		}
	}
	return nil
}

// keyOf returns the key that holds a template.
func keyOf(t *template.Template) string { return strings.SplitN(t.Name(), " ", 2)[0] }

// preset is what a receiver asks for.
type preset struct {
	headers map[string]string
	body    string
	single  bool // a request holds one alert
	// value is the name of what the templates take of Values, in the header named, or in the body where none is.
	value, header string
	// retry are statuses that say nothing of the alert, and are sent again, beside those of every receiver.
	retry []int
	// check, when set, looks into an answer of 2xx.
	check func(answer []byte, alerts []pipeline.Alert) error
}

// needs returns the name of a value that the templates in use ask for and that
// is not there, which would refuse every alert; "" where nothing is missing.
func (p *preset) needs(c *Config) string {
	replaced := p.header == "" && c.Body != ""
	for name := range c.Headers {
		replaced = replaced || http.CanonicalHeaderKey(name) == p.header
	}
	if p.value == "" || replaced || c.Values[p.value] != "" {
		return ""
	}
	return p.value
}

// presets are functions of the interfaces that the receivers publish.
func presets() map[string]preset {
	asJSON := map[string]string{"Content-Type": "application/json"}
	lines := map[string]string{"Content-Type": "application/x-ndjson"}
	return map[string]preset{
		"json": {headers: asJSON, body: `[{{ range $i, $a := .Alerts }}{{ if $i }},{{ end }}{{ alert $a }}{{ end }}]`},
		"cloudevents": {
			headers: map[string]string{"Content-Type": "application/cloudevents-batch+json"},
			body: `[{{ range $i, $a := .Alerts }}{{ if $i }},{{ end }}{"specversion":"1.0","id":{{ json $a.UUID }},"source":"/sluice",` +
				`"type":"sluice.alert","subject":{{ json $a.Scenario }},"time":{{ json $a.StopAt }},"datacontenttype":"application/json","data":{{ alert $a }}}{{ end }}]`,
		},
		"slack": {
			headers: asJSON, single: true,
			body: `{"text":{{ json (summary .Alert | trunc 8000 | replace "&" "&amp;" | replace "<" "&lt;" | replace ">" "&gt;") }}}`,
		},
		"discord": {
			headers: asJSON, single: true,
			// As code, since Discord makes links and more of what else is in a text.
			body: `{"content":{{ json (printf "` + "`%s`" + `" (summary .Alert | trunc 1900 | replace "` + "`" + `" "'")) }},"allowed_mentions":{"parse":[]}}`,
		},
		"teams": {
			headers: asJSON, single: true,
			body: `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json",` +
				// A TextRun is no Markdown, as a TextBlock is.
				`"type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","weight":"bolder","text":{{ json (.Alert.Scenario | trunc 500) }}}]},` +
				`{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":{{ json (summary .Alert | trunc 8000) }}}]}]}}]}`,
		},
		"pagerduty": {
			headers: asJSON, single: true, value: "routing_key",
			body: `{"routing_key":{{ json .Values.routing_key }},"event_action":"trigger","dedup_key":{{ json .Alert.UUID }},"payload":{"summary":{{ json (summary .Alert | trunc 1024) }},` +
				`"source":{{ json (.Alert.GetValue | default "sluice" | trunc 1024) }},"severity":{{ if .Alert.Remediation }}"error"{{ else }}"warning"{{ end }},"timestamp":{{ json .Alert.StopAt }},` +
				`"component":"sluice","class":{{ json .Alert.Scenario }},"custom_details":` +
				// An event has at most 512 KiB.
				`{{ $a := alert .Alert }}{{ if lt (len $a) 450000 }}{{ $a }}{{ else }}{"uuid":{{ json .Alert.UUID }},"events_count":{{ .Alert.EventsCount }}}{{ end }}}}`,
		},
		"splunk_hec": {
			headers: map[string]string{"Content-Type": "application/json", "Authorization": "Splunk {{ .Values.token }}"},
			value:   "token", header: "Authorization",
			retry: []int{http.StatusForbidden}, // its answer to a token that it does not know
			body:  `{{ range .Alerts }}{"time":{{ unix .StopAt }},"source":"sluice","sourcetype":"sluice:alert","event":{{ alert . }}}` + "\n{{ end }}",
		},
		"elasticsearch_bulk": {
			headers: lines, check: checkBulk,
			body: `{{ range .Alerts }}{"create":{"_id":{{ json .UUID }}}}` + "\n{{ alert . }}\n{{ end }}",
		},
		"loki": {
			headers: asJSON,
			body: `{"streams":[{{ range $i, $a := .Alerts }}{{ if $i }},{{ end }}{"stream":{"job":"sluice","scenario":{{ json $a.Scenario }}},` +
				`"values":[["{{ unixNano $a.StopAt }}",{{ json (alert $a) }}]]}{{ end }}]}`,
		},
	}
}
