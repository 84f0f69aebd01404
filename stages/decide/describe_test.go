package decide

import (
	"encoding/json"
	"testing"

	"sluice/pipeline"
)

func TestARecordOfTheLedgerIsDescribed(t *testing.T) {
	records := ledgerRecords{}
	l := records.load(t, 10)
	l.record(&pipeline.Decision{Value: "192.0.2.1", Duration: "4h"}, noon)
	records.save(t, l)
	for key, want := range map[string]string{
		"l\x00":          `{"kind":"decisions","clock":"2026-03-01T12:00:00Z"}`,
		"l\x01192.0.2.1": `{"kind":"decisions","value":"192.0.2.1","decisions":[{"made":"2026-03-01T12:00:00Z","until":"2026-03-01T16:00:00Z"}]}`,
	} {
		r, err := Describe([]byte(key), []byte(records[key]))
		text, _ := json.Marshal(r)
		if err != nil || string(text) != want {
			t.Errorf("%q: got %s, %v", key, text, err)
		}
		for n := range len(records[key]) {
			if _, err := Describe([]byte(key), []byte(records[key])[:n]); err == nil {
				t.Errorf("%q: %d bytes of %d are described", key, n, len(records[key]))
			}
		}
	}
	for _, key := range []string{"", "l", "l\x02", "b\x01"} {
		if _, err := Describe([]byte(key), []byte("\x01\x00\x00")); err == nil {
			t.Errorf("%q is described", key)
		}
	}
}
