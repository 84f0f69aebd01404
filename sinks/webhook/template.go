package webhook

import (
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
	for name, text := range p.headers {
		if out.headers[name], err = parse("headers "+name, text); err != nil {
			return nil, err
		}
	}
	for name, text := range c.Headers {
		if out.headers[name], err = parse("headers "+name, text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// preset is what a receiver asks for.
type preset struct {
	headers map[string]string
	body    string
	single  bool // a request holds one alert
	// check, when set, looks into an answer of 2xx.
	check func(answer []byte, alerts []pipeline.Alert) error
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
			body: `{"text":{{ json (summary .Alert | replace "&" "&amp;" | replace "<" "&lt;" | replace ">" "&gt;") }}}`,
		},
		"discord": {
			headers: asJSON, single: true,
			body: `{"content":{{ json (summary .Alert | trunc 2000) }},"allowed_mentions":{"parse":[]}}`,
		},
		"teams": {
			headers: asJSON, single: true,
			body: `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json",` +
				`"type":"AdaptiveCard","version":"1.4","body":[{"type":"TextBlock","wrap":true,"weight":"bolder","text":{{ json .Alert.Scenario }}},` +
				`{"type":"TextBlock","wrap":true,"text":{{ json (summary .Alert) }}}]}}]}`,
		},
		"pagerduty": {
			headers: asJSON, single: true,
			body: `{"routing_key":{{ json .Values.routing_key }},"event_action":"trigger","dedup_key":{{ json .Alert.UUID }},"payload":{"summary":{{ json (summary .Alert | trunc 1024) }},` +
				`"source":{{ json (.Alert.GetValue | default "sluice") }},"severity":{{ if .Alert.Remediation }}"error"{{ else }}"warning"{{ end }},"timestamp":{{ json .Alert.StopAt }},` +
				`"component":"sluice","class":{{ json .Alert.Scenario }},"custom_details":{{ alert .Alert }}}}`,
		},
		"splunk_hec": {
			headers: map[string]string{"Content-Type": "application/json", "Authorization": "Splunk {{ .Values.token }}"},
			body:    `{{ range .Alerts }}{"time":{{ unix .StopAt }},"source":"sluice","sourcetype":"sluice:alert","event":{{ alert . }}}` + "\n{{ end }}",
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
