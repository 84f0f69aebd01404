package format

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"sluice/pipeline"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alerts are one with everything, one of an IPv6 address with little, and one
// about no address whose texts are an attacker's.
func alerts() []pipeline.Alert {
	at := pipeline.Position{Partition: pipeline.Partition{Source: "edge", Topic: "logs", ID: 3}, Offset: 99, Line: 1}
	full := pipeline.Alert{
		UUID: "6f9619ff-8b86-5d01-b42d-00cf4fc964ff", CreatedAt: "2026-03-01T12:00:02.5Z", Kind: "crowdsec",
		Scenario: "sluice/ssh-bf", ScenarioHash: "a1b2", ScenarioVersion: "0.3", Message: "Ip 192.0.2.7 performed 'sluice/ssh-bf'",
		EventsCount: 6, StartAt: "2026-03-01T11:59:50Z", StopAt: "2026-03-01T12:00:01.25Z", Capacity: 5, Leakspeed: "10s",
		Remediation: true, Labels: []string{"ssh"},
		Source: &pipeline.Source{
			Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7", Range: "192.0.2.0/24", AsNumber: "64500", AsName: "Example & Sons", Cn: "FR", Latitude: 48.85, Longitude: 2.35,
		},
		Meta:   []pipeline.MetaItem{{Key: "target_user", Value: `["root"]`}},
		Events: []pipeline.AlertEvent{{Timestamp: "2026-03-01T11:59:50Z", Meta: []pipeline.MetaItem{{Key: "log_type", Value: "ssh_failed-auth"}, {Key: "source_ip", Value: "192.0.2.7"}}}},
		Decisions: []pipeline.Decision{{
			UUID: "7f9619ff-8b86-5d01-b42d-00cf4fc964ff", Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "4h0m0s",
			Until: "2026-03-01T16:00:01Z", Scenario: "sluice/ssh-bf",
		}},
		Sluice: pipeline.AlertOrigin{Key: "192.0.2.7", Cause: at, First: at, Depth: 1, Labels: map[string]any{
			"confidence": 3, "behavior": "ssh:bruteforce", "classification": []any{"attack.t1110", "cve.CVE-2021-1"}, "service": "ssh",
		}},
	}
	six := full
	six.Source = &pipeline.Source{Scope: "Ip", Value: "2001:db8::7", IP: "2001:db8::7"}
	six.UUID, six.Decisions, six.Meta, six.Labels, six.Remediation = "00000000-0000-5000-8000-000000000006", nil, nil, nil, false
	six.Sluice.Labels = nil
	user := six
	user.UUID, user.Simulated, user.CreatedAt, user.Kind = "00000000-0000-5000-8000-000000000007", true, "", ""
	user.Source = &pipeline.Source{Scope: "username", Value: "a=b|c\\d\n<script>\x1b[31m"}
	user.Message = "User a=b|c\\d\nfailed"
	user.Decisions = []pipeline.Decision{{Origin: "crowdsec", Type: "ban", Scope: "username", Value: user.Source.Value, Duration: "1h", Scenario: "s", Simulated: true}}
	return []pipeline.Alert{full, six, user}
}

func TestFormatsAreAsTheyWere(t *testing.T) {
	for _, f := range All() {
		var got []byte
		for _, a := range alerts() {
			line, err := f.Append(nil, &a)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(line, []byte("\n")) {
				t.Errorf("%s: an alert takes more than a line: %q", f, line)
			}
			if !bytes.Contains(line, []byte(a.UUID)) && f != Text {
				t.Errorf("%s: the alert's id is not in %s", f, line)
			}
			got = append(append(got, line...), '\n')
		}
		path := filepath.Join("testdata", string(f)+".golden")
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is\n%s\nwant\n%s", f, got, want)
		}
	}
}

func TestAFormatIsReadByItsName(t *testing.T) {
	var f Format
	for _, known := range All() {
		if err := f.UnmarshalText([]byte(known)); err != nil || f != known {
			t.Errorf("%s is read as %s, %v", known, f, err)
		}
	}
	if err := f.UnmarshalText([]byte("xml")); err == nil || !strings.Contains(err.Error(), "ocsf") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatJSONHasNotIsAnError(t *testing.T) {
	a := alerts()[0]
	a.Sluice.Labels = map[string]any{"n": math.Inf(1)}
	before := []byte("before")
	if got, err := Sluice.Append(before, &a); err == nil || string(got) != "before" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Sluice.Append(before, &alerts()[0]); err != nil || !bytes.HasPrefix(got, before) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestTheSchemaDescribesAlerts holds docs/alert.schema.json to the alerts and,
// field by field, to the struct.
func TestTheSchemaDescribesAlerts(t *testing.T) {
	path := filepath.FromSlash("../../docs/alert.schema.json")
	schema, err := jsonschema.NewCompiler().Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts() {
		line, err := Sluice.Append(nil, &a)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]struct {
		of         reflect.Type
		properties map[string]any
	}{
		"alert":    {reflect.TypeFor[pipeline.Alert](), doc.Properties},
		"source":   {reflect.TypeFor[pipeline.Source](), doc.Defs["source"].Properties},
		"event":    {reflect.TypeFor[pipeline.AlertEvent](), doc.Defs["event"].Properties},
		"decision": {reflect.TypeFor[pipeline.Decision](), doc.Defs["decision"].Properties},
		"origin":   {reflect.TypeFor[pipeline.AlertOrigin](), doc.Defs["origin"].Properties},
	} {
		var names, described []string
		for i := range s.of.NumField() {
			if name, _, _ := strings.Cut(s.of.Field(i).Tag.Get("json"), ","); name != "-" {
				names = append(names, name)
			}
		}
		for name := range s.properties {
			described = append(described, name)
		}
		slices.Sort(names)
		slices.Sort(described)
		if !slices.Equal(names, described) {
			t.Errorf("the fields of %s are %v, and the schema describes %v", what, names, described)
		}
	}
}

// TestCEFIsReadBack reads the lines as a receiver does.
func TestCEFIsReadBack(t *testing.T) {
	for _, a := range alerts() {
		line, err := CEF.Append(nil, &a)
		if err != nil {
			t.Fatal(err)
		}
		header, extension := readCEF(string(line))
		if len(header) != 7 || header[4] != a.Scenario || header[5] != strings.ReplaceAll(a.Message, "\n", " ") {
			t.Errorf("the header is %q", header)
		}
		if extension["externalId"] != a.UUID || extension["cs2"] != strings.ReplaceAll(a.Source.Value, "\x1b", " ") || extension["cs2Label"] != "value" {
			t.Errorf("the extension is %q", extension)
		}
		if want := map[bool]string{true: a.Source.IP}[a.Source.Scope == "Ip"]; extension["src"]+extension["c6a2"] != want {
			t.Errorf("the address is %q, want %q", extension["src"]+extension["c6a2"], want)
		}
	}
}

// FuzzCEF: whatever an alert's words are, they stay in their fields.
func FuzzCEF(f *testing.F) {
	f.Add("a=b|c\\d\n<script>\x1b[31m", "cs3Label=x cs3=y", "CEF:0|a|")
	f.Add("\\", "\\=", "|\\|")
	f.Add(" a ", "\r\n", "\xff\u2028")
	f.Fuzz(func(t *testing.T, value, scenario, message string) {
		a := pipeline.Alert{UUID: "id", Scenario: scenario, Message: message, Source: &pipeline.Source{Scope: "user", Value: value, Cn: "FR"}}
		line, err := CEF.Append(nil, &a)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(line, "\r\n\x00\x1b") {
			t.Errorf("%q is more than a line", line)
		}
		header, extension := readCEF(string(line))
		if len(header) != 7 || header[0] != "CEF:0" || header[1] != vendor || header[6] != "5" {
			t.Errorf("%q has the header %q", line, header)
		}
		want := map[string]string{"externalId": "id", "cs1": "user", "cs1Label": "scope", "cs3": "FR", "cs3Label": "country"}
		if value != "" {
			want["cs2"], want["cs2Label"] = printable(value), "value"
		}
		if !maps.Equal(extension, want) {
			t.Errorf("%q has the extension %q, want %q", line, extension, want)
		}
	})
}

// readCEF splits a line: the fields of its header, and the extension's keys.
func readCEF(line string) (header []string, extension map[string]string) {
	var field strings.Builder
	for len(header) < 7 && line != "" {
		switch {
		case line[0] == '\\':
			field.WriteByte(line[1])
			line = line[2:]
			continue
		case line[0] == '|':
			header = append(header, field.String())
			field.Reset()
		default:
			field.WriteByte(line[0])
		}
		line = line[1:]
	}
	extension = make(map[string]string)
	unescape := strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r")
	for line != "" { // a value ends before the word that the next unescaped = follows
		key, rest, _ := strings.Cut(line, "=")
		end := len(rest)
		for i := 0; i < len(rest); i++ {
			if rest[i] == '\\' {
				i++
			} else if rest[i] == '=' {
				end = strings.LastIndexByte(rest[:i], ' ')
				break
			}
		}
		extension[key] = unescape.Replace(rest[:end])
		line = strings.TrimPrefix(rest[end:], " ")
	}
	return header, extension
}
