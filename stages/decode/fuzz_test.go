package decode

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"sluice/pipeline"
)

// FuzzEnvelope holds the scanner to encoding/json: whatever that accepts as an
// object with a message is one line with the same text; and nothing panics.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		filebeatLine, `{"message":"a\u00e9\ud83d\ude00\ud800"}`, `{"message":{"a":[1,2,{"b":null}]}}`, `[{"message":"x"},{"message":1.5e3}]`,
		`{"message":"a"}{"message":"b"}`, `{"Records":[{"eventTime":"2024-05-01T12:30:00Z"}]}`, `{"message`, `{"a":"\\\\\"","message":true}`, "\x00", `{"m\u0065ssage":"x"}`,
	} {
		f.Add([]byte(s))
	}
	var readers []*Reader
	for _, c := range []Config{
		config(func(c *Config) { c.Preset = "filebeat"; c.MaxLineBytes = 1 << 30 }),
		config(func(c *Config) { c.Format = FormatCloudTrail }),
		config(func(c *Config) { c.Format = FormatLines }),
	} {
		d, err := Compile(c, pipeline.NewSchema())
		if err != nil {
			f.Fatal(err)
		}
		readers = append(readers, d.NewReader())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := pipeline.RecordBatch{Records: []pipeline.Record{{Value: data}}}
		for _, r := range readers[1:] {
			drain(r, &b)
		}
		r := readers[0]
		r.Batch(&b)
		r.Record(&b.Records[0])
		var got []string
		for r.Next() {
			got = append(got, r.Line().Text)
		}
		want, ok := plain(data)
		if !ok {
			return
		}
		if want == "" {
			if len(got) != 0 || r.Err() != nil {
				t.Fatalf("%q: lines %q, %v, want none", data, got, r.Err())
			}
		} else if len(got) != 1 || got[0] != want {
			t.Fatalf("%q: lines %q, %v, want %q", data, got, r.Err(), want)
		}
	})
}

// plain is what encoding/json says of the message, where the two are meant to agree.
func plain(data []byte) (text string, ok bool) {
	var envelope map[string]json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &envelope) != nil {
		return "", false
	}
	var message string
	if raw, there := envelope["message"]; !there || len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &message) != nil {
		return "", false
	}
	return string(trimEnd([]byte(message))), true
}
