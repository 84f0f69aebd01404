package email

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/google/uuid"
	gomail "github.com/wneessen/go-mail"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks/format"
	"sluice/sinks/internal/templates"
)

// data is what templates see.
type data struct {
	// Alert is the first of Alerts.
	Alert  *pipeline.Alert
	Alerts []*pipeline.Alert
}

// compiled are a configuration's templates.
type compiled struct{ subject, body *template.Template }

func (c *Config) compile() (*compiled, error) {
	functions := templates.Functions(format.Sluice)
	var out compiled
	for _, t := range []struct {
		key, text string
		into      **template.Template
	}{{"subject", c.Subject, &out.subject}, {"body", c.Body, &out.body}} {
		var err error
		if *t.into, err = templates.Parse(t.key, t.text, functions); err != nil {
			return nil, component.Invalid(t.key, "it is no template: %v", err)
		}
		for _, a := range templates.Specimens() {
			if err := templates.Try(*t.into, data{Alert: a, Alerts: []*pipeline.Alert{a}}); err != nil {
				return nil, component.Invalid(t.key, "its template fails on every alert: %v", err)
			}
		}
	}
	return &out, nil
}

// idSpace is the namespace of the ids of messages with several alerts.
var idSpace = uuid.MustParse("0c4f7d0e-37a5-5d0f-9d0a-3d6a9f2f7c11")

// messageID is the same for the same alerts: the alert's id, or one made of their ids.
func messageID(alerts []pipeline.Alert, from string) string {
	id := alerts[0].UUID
	if len(alerts) > 1 {
		var all strings.Builder
		for i := range alerts {
			all.WriteString(alerts[i].UUID)
		}
		id = uuid.NewSHA1(idSpace, []byte(all.String())).String()
	}
	return id + from[strings.LastIndexByte(from, '@'):]
}

// maxSubject is how many bytes of a subject are kept.
const maxSubject = 250

// message writes the message of some alerts.
func (s *Sink) message(alerts []pipeline.Alert) ([]byte, error) {
	d := data{Alert: &alerts[0]}
	for i := range alerts {
		d.Alerts = append(d.Alerts, &alerts[i])
	}
	var subject, body strings.Builder
	if err := s.templates.subject.Execute(&subject, d); err != nil {
		return nil, fmt.Errorf("its template subject fails on it: %w", err)
	}
	if err := s.templates.body.Execute(&body, d); err != nil {
		return nil, fmt.Errorf("its template body fails on it: %w", err)
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := m.FromFormat(s.from.Name, s.from.Address); err != nil {
		return nil, err
	}
	if err := m.To(s.config.To...); err != nil {
		return nil, err
	}
	m.Subject(oneLine(subject.String()))
	m.SetDateWithValue(s.now())
	m.SetMessageIDWithValue(messageID(alerts, s.from.Address))
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	m.SetBodyString(gomail.TypeTextPlain, body.String())
	var out bytes.Buffer
	_, err := m.WriteTo(&out)
	return out.Bytes(), err
}

// oneLine makes a subject of what a template gives: an alert's values may be an attacker's own words.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.ToValidUTF8(s[:min(len(s), maxSubject)], "")
}

// addresses are the bare addresses that the envelope names.
func addresses(list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		a, err := mail.ParseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		out = append(out, a.Address)
	}
	return out, nil
}

// wait waits until the interval since the last batch is over.
func wait(done <-chan struct{}, left time.Duration, after func(time.Duration) <-chan time.Time) bool {
	if left <= 0 {
		return true
	}
	select {
	case <-after(left):
		return true
	case <-done:
		return false
	}
}
