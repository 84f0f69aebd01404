package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sluice/pipeline"
)

// Format names a format. It is read from a configuration file by UnmarshalText.
type Format string

// The formats; see the package's comment.
const (
	Sluice   Format = "sluice"
	CrowdSec Format = "crowdsec"
	OCSF     Format = "ocsf"
	ECS      Format = "ecs"
	CEF      Format = "cef"
	Text     Format = "text"
)

// All returns the formats.
func All() []Format { return []Format{Sluice, CrowdSec, OCSF, ECS, CEF, Text} }

// UnmarshalText takes the name of a format; any other is an error that lists them.
func (f *Format) UnmarshalText(text []byte) error {
	var names []string
	for _, known := range All() {
		if string(text) == string(known) {
			*f = known
			return nil
		}
		names = append(names, string(known))
	}
	return fmt.Errorf("%q is no format; known are %s", text, strings.Join(names, ", "))
}

// JSON tells whether the format's alerts are JSON objects.
func (f Format) JSON() bool { return f != CEF && f != Text }

// ContentType is the media type of one alert.
func (f Format) ContentType() string {
	if f.JSON() {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// Append appends an alert to b, on one line and without the line's end. An
// alert that cannot be written, such as one with a number that JSON has not,
// is an error, and b is returned as it was.
func (f Format) Append(b []byte, a *pipeline.Alert) ([]byte, error) {
	var value any
	switch f {
	case CEF:
		return appendCEF(b, a), nil
	case Text:
		return appendText(b, a, false), nil
	case Sluice:
		value = a
	case CrowdSec:
		value = ToCrowdSec(a)
	case OCSF:
		value = toOCSF(a)
	case ECS:
		value = toECS(a)
	default:
		return b, fmt.Errorf("%q is no format", string(f))
	}
	out := bytes.NewBuffer(b)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return b, fmt.Errorf("alert %s of scenario %s cannot be written as %s: %w", a.UUID, a.Scenario, f, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
