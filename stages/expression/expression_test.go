package expression

import (
	"errors"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

func newTest(t testing.TB, opts Options) (*Compiler, *pipeline.Schema) {
	t.Helper()
	schema := pipeline.NewSchema()
	return NewCompiler(schema, funcs.NewData(), opts), schema
}

func event(schema *pipeline.Schema) *pipeline.Event {
	ev := pipeline.NewEvent(schema)
	ev.Time = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	ev.SetField(pipeline.Parsed, "program", "sshd")
	ev.SetField(pipeline.Meta, "source_ip", "192.0.2.1")
	ev.SetField(pipeline.Meta, "empty", "")
	ev.SetField(pipeline.Meta, "http_path", "/Admin/x.PHP")
	ev.SetField(pipeline.Label, "type", "syslog")
	ev.Set(pipeline.SlotLineRaw, `{"a":1.5,"b":"t"}`)
	ev.Unmarshaled = map[string]any{"j": map[string]any{"n": 401.0, "s": "text", "l": []any{"a"}, "t": true}}
	return ev
}

func TestFilters(t *testing.T) {
	for src, want := range map[string]bool{
		`evt.Parsed.program == 'sshd'`:                                           true,
		`'sshd' == evt.Parsed.program`:                                           true,
		`evt.Parsed["program"] != "sshd"`:                                        false,
		`evt.Parsed.program in ['sshd-session', 'sshd']`:                         true,
		`evt.Line.Labels.type not in ['syslog', 'unifi']`:                        false,
		`"source_ip" in evt.Meta`:                                                true,
		`"empty" in evt.Meta && evt.Meta.empty == ""`:                            true,
		`"absent" in evt.Meta`:                                                   false,
		`evt.Meta.absent == ''`:                                                  true,
		`evt.Meta.source_ip not in ['', nil]`:                                    true,
		`evt.Meta.source_ip == nil`:                                              false,
		`Upper(evt.Meta.http_path) contains Upper('/admin')`:                     true,
		`Lower(evt.Meta.http_path) endsWith '.php'`:                              true,
		`evt.Meta.http_path matches '^/[A-Z]'`:                                   true,
		`IpInRange(evt.Meta.source_ip, "192.0.2.0/24")`:                          true,
		`let v6 = IsIPV6(evt.Meta.source_ip); not v6 && "source_ip" in evt.Meta`: true,
		`evt.Unmarshaled.j.s == 'text'`:                                          true,
		`evt.Unmarshaled.nothing == nil`:                                         true,
		`evt.Unmarshaled.nothing.x == 'y'`:                                       false, // fails
		`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'k') in ['', nil] && evt.Unmarshaled.k.b == 't'`: true,
		`UnmarshalJSON('{', evt.Unmarshaled, 'k') in ['', nil]`:                                        false, // fails
		`evt.GetType() == 'overflow'`:                                                                  false,
		`evt.Overflow.Alert.Remediation == true`:                                                       false, // fails
		`len(evt.Meta) == 3 && evt.GetMeta("source_ip") == '192.0.2.1'`:                                true,
		`any(["a","b"], {# == 'b'}) or evt.Meta.absent contains 'x'`:                                   true,
		`int(JsonExtract(evt.Line.Raw, 'a') == '1.5' ? '1' : '0') > 0`:                                 true,
		`evt.Meta.absent matches 'x' || evt.Time.Year() == 2026`:                                       true,
	} {
		for _, o := range []Options{{}, {Reference: true}} {
			c, schema := newTest(t, o)
			for name, compile := range map[string]func(string) (*Program, error){"parser": c.Compile, "filter": c.CompileFilter} {
				p, err := compile(src)
				if err != nil {
					t.Errorf("%s: %v", src, err)
					continue
				}
				if got, err := p.Bool(&Context{Event: event(schema)}); got != want {
					t.Errorf("%s (%s, %+v): %v, %v; want %v", src, name, o, got, err, want)
				}
			}
		}
	}
}

func TestTexts(t *testing.T) {
	for src, want := range map[string]string{
		`evt.Parsed.program`:                                          "sshd",
		`evt.Parsed.program + '/' + evt.Meta.source_ip`:               "sshd/192.0.2.1",
		`evt.Parsed.program == 'x' ? 'a' : Upper(evt.Parsed.program)`: "SSHD",
		`evt.Unmarshaled.j.n`:                                         "401.000000",
		`len(evt.Parsed.program)`:                                     "4",
		`evt.Unmarshaled.j.l`:                                         "",
		`evt.Unmarshaled.absent`:                                      "",
		`JsonExtract(evt.Line.Raw, "a")`:                              "1.5",
	} {
		for _, o := range []Options{{}, {Reference: true}} {
			c, schema := newTest(t, o)
			p, err := c.Compile(src)
			if err != nil {
				t.Errorf("%s: %v", src, err)
				continue
			}
			got, write, err := p.Text(&Context{Event: event(schema)})
			if got != want || err != nil || write != (want != "") {
				t.Errorf("%s: %q, %v, %v; want %q", src, got, write, err, want)
			}
		}
	}
	c, schema := newTest(t, Options{})
	p, err := c.Compile(`evt.Unmarshaled.j.t`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Text(&Context{Event: event(schema)}); err == nil {
		t.Error("a bool was written to a field")
	}
}

func TestMistakesHaveAPlace(t *testing.T) {
	c, _ := newTest(t, Options{})
	_, err := c.Compile("evt.Meta.a == 'x' &&\n  Uper(evt.Meta.b) == 'y'")
	var e *Error
	if !errors.As(err, &e) || e.Line != 2 || e.Column != 3 || e.Suggestion != "Upper" {
		t.Errorf("got %#v", err)
	}
	for _, src := range []string{"", "(", "evt.", "1 +", "evt.Meta.x ==", string(make([]byte, maxSource+1))} {
		if _, err := c.Compile(src); !errors.As(err, &e) {
			t.Errorf("%.20q: %v, want an *Error", src, err)
		}
	}
}

func TestConjuncts(t *testing.T) {
	c, schema := newTest(t, Options{})
	p, err := c.CompileFilter(`evt.Meta.log_type in ['a', 'b'] && (Upper(evt.Meta.path) contains Upper('/x') || Upper(evt.Meta.path) contains '/Y') && not (evt.Meta.z == '1')`)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Analysis().Conjuncts
	if len(got) != 2 || got[0].Op != Equals || len(got[0].Literals) != 2 || got[1].Op != Contains ||
		got[1].Operand.Text != "Upper(evt.Meta.path)" || got[1].Literals[0] != "/X" {
		t.Errorf("conjuncts %+v", got)
	}
	if got[0].Operand.Slot != schema.Lookup(pipeline.Meta, "log_type") {
		t.Error("wrong slot")
	}
	p, err = c.Compile(`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, "x") == nil && evt.Meta.a == 'b'`)
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Analysis(); len(a.Conjuncts) != 0 || !a.Writes {
		t.Errorf("a condition behind a writing call is no conjunct: %+v", a)
	}
}
