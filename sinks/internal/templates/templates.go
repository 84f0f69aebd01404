// Package templates is what the templates of sinks are made with: the
// functions they may call, and how they are read.
package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"text/template"
	"time"

	sprig "github.com/go-task/slim-sprig/v3"

	"sluice/pipeline"
	"sluice/sinks/format"
)

// Functions are those of sprig that depend on nothing outside, and ours:
// json, format, alert (in the format given), unix, unixNano, summary and address.
func Functions(f format.Format) template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	all["json"] = func(v any) (string, error) {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSuffix(out.String(), "\n"), err
	}
	all["format"] = func(name string, a *pipeline.Alert) (string, error) {
		var f format.Format
		if err := f.UnmarshalText([]byte(name)); err != nil {
			return "", err
		}
		text, err := f.Append(nil, a)
		return string(text), err
	}
	all["alert"] = func(a *pipeline.Alert) (string, error) {
		text, err := f.Append(nil, a)
		return string(text), err
	}
	all["unix"] = func(at string) (string, error) {
		t, err := time.Parse(time.RFC3339Nano, at)
		return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000), err
	}
	all["unixNano"] = func(at string) (int64, error) {
		t, err := time.Parse(time.RFC3339Nano, at)
		return t.UnixNano(), err
	}
	all["summary"] = func(a *pipeline.Alert) string {
		text, _ := format.Text.Append(nil, a) // text never fails
		return string(text)
	}
	all["address"] = address
	return all
}

// address returns an address or a range as it is usually written, and fails on
// any other text: an attacker's words pass for none.
func address(text string) (string, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.Unmap().String(), nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked().String(), nil
	}
	return "", fmt.Errorf("%q is neither an address nor a range", text)
}

// Parse reads a template. What it asks for and is not there fails it.
func Parse(name, text string, functions template.FuncMap) (*template.Template, error) {
	return template.New(name).Funcs(functions).Option("missingkey=error").Parse(text)
}
