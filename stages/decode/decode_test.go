package decode

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
)

// decodeAll returns the lines of one record, a line of text for each, and the error.
func decodeAll(t testing.TB, config Config, batch pipeline.RecordBatch) (lines []Line, err *Error) {
	t.Helper()
	d, cerr := Compile(config, pipeline.NewSchema())
	if cerr != nil {
		t.Fatal(cerr)
	}
	r := d.NewReader()
	r.Batch(&batch)
	for i := range batch.Records {
		r.Record(&batch.Records[i])
		for r.Next() {
			l := *r.Line()
			l.Labels = append([]LabelValue(nil), l.Labels...)
			lines = append(lines, l)
		}
		if r.Err() != nil {
			err = r.Err()
		}
	}
	return lines, err
}

func config(edit func(*Config)) Config {
	c := Default()
	edit(&c)
	return c
}

func record(value string) pipeline.RecordBatch {
	return pipeline.RecordBatch{
		Partition: pipeline.Partition{Source: "k", Topic: "logs", ID: 3},
		Records:   []pipeline.Record{{Value: []byte(value)}},
	}
}

func texts(lines []Line) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, fmt.Sprintf("%d:%s", l.Index, l.Text))
	}
	return out
}

func TestRecordsBecomeLines(t *testing.T) {
	raw := Default()
	lines := config(func(c *Config) { c.Format = FormatLines })
	short := config(func(c *Config) { c.Format = FormatLines; c.MaxLineBytes = 4 })
	json := config(func(c *Config) { c.Format = FormatJSON; c.Message = "log.original" })
	whole := config(func(c *Config) { c.Format = FormatJSON; c.Message = "." })
	dotted := config(func(c *Config) { c.Format = FormatJSON; c.Message = `log\.original` })
	trail := config(func(c *Config) { c.Format = FormatCloudTrail })
	shallow := config(func(c *Config) { c.Format = FormatJSON; c.Message = "m"; c.MaxDepth = 3 })
	for _, c := range []struct {
		name   string
		config Config
		value  string
		want   []string
		reason Reason
	}{
		{"a raw record is one line", raw, "a\nb", []string{"0:a\nb"}, ""},
		{"the line end of a raw record is dropped", raw, "a\r\n", []string{"0:a"}, ""},
		{"an empty raw record is no line", raw, "\r\n", []string{}, ""},
		{"NULs and invalid UTF-8 pass through", raw, "a\x00\xff\xfe", []string{"0:a\x00\xff\xfe"}, ""},
		{"lines are split, empty ones counted and skipped", lines, "a\r\n\n\nb\nc", []string{"0:a", "3:b", "4:c"}, ""},
		{"a last line end starts no line", lines, "a\n", []string{"0:a"}, ""},
		{"a line too long is cut, not within a character", short, "abc\u00e9f\nabcde\nabcd", []string{"0:abc", "1:abcd", "2:abcd"}, ""},

		{"a nested message is found", json, `{"x":{"original":"no"},"log":{"a":[{}],"original":"yes"}}`, []string{"0:yes"}, ""},
		{"a message is unescaped", json, `{"log":{"original":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83d."}}`, []string{"0:a\"\\/\b\f\n\r\té😀\uFFFD."}, ""},
		{"a key is unescaped", json, `{"l\u006fg":{"original":"yes"}}`, []string{"0:yes"}, ""},
		{"of a key given twice the last counts", json, `{"log":{"original":"a"},"log":{"original":"b"}}`, []string{"0:b"}, ""},
		{"a message that is an object is passed on as JSON", json, `{"log":{"original": {"a" : 1} }}`, []string{`0:{"a" : 1}`}, ""},
		{"a message's own line end is dropped", json, `{"log":{"original":"a\r\n"}}`, []string{"0:a"}, ""},
		{"several envelopes follow each other", json, "{\"log\":{\"original\":\"a\"}}\n{\"log\":{\"original\":\"b\"}}\n", []string{"0:a", "1:b"}, ""},
		{"an array of envelopes", json, ` [ {"log":{"original":"a"}} , {"log":{"original":"b"}} ] `, []string{"0:a", "1:b"}, ""},
		{"an empty array has no lines", json, `[]`, []string{}, ""},
		{"an empty record has no lines", json, ``, []string{}, ""},
		{"the whole envelope is the message", whole, ` {"a": "b\n"} `, []string{`0:{"a": "b\n"}`}, ""},
		{"a key with a dot in it", dotted, `{"log.original":"a"}`, []string{"0:a"}, ""},

		{"no message is an error, the others are read", json, `{"log":{}}{"log":{"original":"b"}}`, []string{"1:b"}, ReasonNoMessage},
		{"a null message is none", json, `{"log":{"original":null}}`, []string{}, ReasonNoMessage},
		{"an envelope that is no object", json, `"text"`, []string{}, ReasonBadJSON},
		{"a plain line is no JSON", json, `Oct  1 sshd[1]: x`, []string{}, ReasonBadJSON},
		{"a bad escape spoils its envelope only", json, `{"log":{"original":"\x"}}{"log":{"original":"b"}}`, []string{"1:b"}, ReasonBadJSON},
		{"a bad unicode escape", json, `{"log":{"original":"\u12g4"}}`, []string{}, ReasonBadJSON},
		{"truncated in a string", json, `{"log":{"original":"a`, []string{}, ReasonTruncated},
		{"truncated after an escape", json, `{"log":{"original":"a\"`, []string{}, ReasonTruncated},
		{"truncated after the message", json, `{"log":{"original":"a"}`, []string{}, ReasonTruncated},
		{"truncated in a word", json, `{"log":tru`, []string{}, ReasonTruncated},
		{"truncated after a good envelope", json, `{"log":{"original":"a"}}{`, []string{"0:a"}, ReasonTruncated},
		{"a missing comma", json, `[{"log":{"original":"a"}}{}]`, []string{"0:a"}, ReasonBadJSON},
		{"a comma too many", json, `[{"log":{"original":"a"}},]`, []string{"0:a"}, ReasonBadJSON},
		{"a missing colon", json, `{"log" 1}`, []string{}, ReasonBadJSON},
		{"nesting up to the limit", shallow, `{"m":"a","x":[[1]]}`, []string{"0:a"}, ""},
		{"nesting past the limit", shallow, `{"m":"a","x":[[[1]]]}`, []string{}, ReasonTooDeep},
		{"ten million brackets", json, strings.Repeat("[", 10<<20), []string{}, ReasonTooDeep},
		{"ten million brackets inside", json, `{"a":` + strings.Repeat("[", 10<<20), []string{}, ReasonTooDeep},
		{"five million empty arrays", json, strings.Repeat("[]", 5<<20), []string{}, ""},

		{"the entries of CloudTrail's Records", trail, `{"a":1,"Records":[{"eventName":"A"}, {"eventName":"B"}]}`, []string{`0:{"eventName":"A"}`, `1:{"eventName":"B"}`}, ""},
		{"a single CloudTrail event", trail, `{"eventName":"A"}`, []string{`0:{"eventName":"A"}`}, ""},
		{"no entries", trail, `{"Records":[]}`, []string{}, ""},
		{"an empty record has no entries", trail, " ", []string{}, ""},
		{"a truncated CloudTrail file gives none of its entries", trail, `{"Records":[{"eventName":"A"}`, []string{}, ReasonTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, err := decodeAll(t, c.config, record(c.value))
			if got := texts(lines); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("lines %q, want %q", got, c.want)
			}
			var reason Reason
			if err != nil {
				reason = err.Reason
			}
			if reason != c.reason {
				t.Errorf("error %v, want reason %q", err, c.reason)
			}
		})
	}
}

func TestALineOfTenMebibytesIsCut(t *testing.T) {
	big := strings.Repeat("x", 10<<20)
	for name, b := range map[string]pipeline.RecordBatch{FormatRaw: record(big), FormatLines: record(big + "\nnext"), FormatJSON: record(`{"m":"\n` + big + `"}`)} {
		lines, err := decodeAll(t, config(func(c *Config) {
			c.Format = name
			if name == FormatJSON {
				c.Message = "m"
			}
		}), b)
		if err != nil || len(lines) == 0 || len(lines[0].Text) != 1<<20 || !lines[0].Cut {
			t.Errorf("%s: %d lines, %v", name, len(lines), err)
		}
	}
}

func TestEnvelopesSayTheTime(t *testing.T) {
	c := config(func(c *Config) { c.Preset = "filebeat" })
	for _, tc := range []struct{ name, value, want string }{
		{"RFC 3339 with milliseconds", `"2024-05-01T12:30:00.123Z"`, "2024-05-01T12:30:00.123Z"},
		{"RFC 3339 with a zone", `"2024-05-01T12:30:00+02:00"`, "2024-05-01T12:30:00+02:00"},
		{"seconds", `1714566600`, "2024-05-01T12:30:00Z"},
		{"seconds with a fraction, exactly", `1714566600.123456789`, "2024-05-01T12:30:00.123456789Z"},
		{"seconds in a string", `"1714566600"`, "2024-05-01T12:30:00Z"},
		{"milliseconds", `1714566600123`, "2024-05-01T12:30:00.123Z"},
		{"microseconds", `1714566600123456`, "2024-05-01T12:30:00.123456Z"},
		{"nanoseconds", `1714566600123456789`, "2024-05-01T12:30:00.123456789Z"},
		{"an exponent is no time", `1.7e9`, "bad"},
		{"text is no time", `"yesterday"`, "bad"},
		{"an object is no time", `{"a":1}`, "bad"},
		{"a number too large is no time", `99999999999999999999`, "bad"},
		{"null is no time at all", `null`, "none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines, err := decodeAll(t, c, record(`{"@timestamp":`+tc.value+`,"message":"m"}`))
			if err != nil || len(lines) != 1 {
				t.Fatal(lines, err)
			}
			got := "none"
			if l := lines[0]; l.BadTime {
				got = "bad"
			} else if !l.Time.IsZero() {
				got = l.Time.Format(time.RFC3339Nano)
			}
			if got != tc.want {
				t.Errorf("time %s, want %s", got, tc.want)
			}
		})
	}
}

func TestLabelsComeFromAllOverTheRecord(t *testing.T) {
	c := config(func(c *Config) {
		c.Preset = "filebeat"
		c.Type = "syslog"
		c.Labels = map[string]string{"env": "prod", "dc": "static"}
		c.LabelsFrom = map[string]string{"topic": "topic", "host": "key", "dc": "header:dc", "agent": "field:agent.name"}
		c.TypeMap = map[string]string{"web": "nginx"}
	})
	b := record(`{"message":"m","fields":{"type":"web"},"agent":{"name":"a\u00e9"}}` + "\n" + `{"message":"n"}`)
	b.Labels = map[string]string{"zone": "z", "env": "batch"}
	b.Records[0].Key = []byte("host1")
	b.Records[0].Headers = []pipeline.Header{{Key: "dc", Value: []byte("east")}, {Key: "x", Value: []byte("y")}}
	lines, err := decodeAll(t, c, b)
	if err != nil || len(lines) != 2 {
		t.Fatal(lines, err)
	}
	show := func(l Line) string {
		m := map[string]string{}
		for _, v := range l.Labels {
			if _, twice := m[v.Name]; twice {
				t.Errorf("label %s stands twice", v.Name)
			}
			m[v.Name] = v.Value
		}
		return fmt.Sprint(m)
	}
	if got, want := show(lines[0]), "map[agent:aé dc:east env:batch host:host1 topic:logs type:nginx zone:z]"; got != want {
		t.Errorf("labels %s\nwant   %s", got, want)
	}
	if got, want := show(lines[1]), "map[dc:east env:batch host:host1 topic:logs type:syslog zone:z]"; got != want {
		t.Errorf("labels %s\nwant   %s", got, want)
	}
}

func TestLabelsHaveTheirSlots(t *testing.T) {
	schema := pipeline.NewSchema()
	d, err := Compile(config(func(c *Config) { c.Type = "nginx" }), schema)
	if err != nil {
		t.Fatal(err)
	}
	r := d.NewReader()
	b := record("x")
	b.Labels = map[string]string{"unheard": "of"}
	r.Batch(&b)
	r.Record(&b.Records[0])
	r.Next()
	ls := r.Line().Labels
	if len(ls) != 2 || ls[0].Slot != schema.Lookup(pipeline.Label, "type") || ls[1].Slot != pipeline.NoSlot {
		t.Errorf("labels %+v", ls)
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"an unknown format", "format: xml", "no format"},
		{"an unknown preset", "preset: logstash", "filebeat, fluentbit, vector"},
		{"a preset for plain lines", "preset: vector\nformat: lines", "a preset is for format json"},
		{"a message path for plain lines", "format: lines\nmessage: a", "set format: json"},
		{"no message path", "format: json", "path of the message"},
		{"a field of a raw record", "labels_from: {a: \"field:b\"}", "has no fields"},
		{"an origin that is none", "labels_from: {a: magic}", "none of topic, key"},
		{"no depth", "max_depth: 0", "between 1 and 1000"},
		{"no length", "max_line_bytes: 0", "at least 1"},
		{"an unknown key", "fromat: raw", `did you mean "format"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := component.Parse([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			config := Default()
			if err := component.Decode(node, &config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestPlainLinesAllocateNothing(t *testing.T) {
	for name, c := range map[string]Config{
		"raw":   config(func(c *Config) { c.Type = "nginx" }),
		"lines": config(func(c *Config) { c.Format = FormatLines; c.LabelsFrom = map[string]string{"host": "key", "t": "topic"} }),
		"json":  config(func(c *Config) { c.Preset = "filebeat"; c.Type = "nginx" }),
	} {
		d, err := Compile(c, pipeline.NewSchema())
		if err != nil {
			t.Fatal(err)
		}
		r, b := d.NewReader(), record(filebeatLine)
		b.Labels = map[string]string{"a": "b"}
		if n := testing.AllocsPerRun(100, func() { drain(r, &b) }); n > 0 {
			t.Errorf("%s: %v allocations a batch", name, n)
		}
	}
}

func drain(r *Reader, b *pipeline.RecordBatch) (n int) {
	r.Batch(b)
	for i := range b.Records {
		r.Record(&b.Records[i])
		for r.Next() {
			n += len(r.Line().Text)
		}
	}
	return n
}

const filebeatLine = `{"@timestamp":"2024-05-01T12:30:00.123Z","@metadata":{"beat":"filebeat","type":"_doc","version":"8.13.0"},` +
	`"log":{"offset":4711,"file":{"path":"/var/log/nginx/access.log"}},"message":"192.0.2.1 - - [01/May/2024:12:30:00 +0000] \"GET /a HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\"",` +
	`"input":{"type":"log"},"fields":{"type":"nginx"},"ecs":{"version":"8.0.0"},"host":{"name":"web-1"},"agent":{"name":"web-1","type":"filebeat"}}`
