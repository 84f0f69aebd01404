package s3

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"sluice/pipeline"
	"sluice/sinks"
)

var update = flag.Bool("update", false, "write the schema into docs/alert-parquet.md")

// TestTheSchemaIsTheOneThatIsDocumented holds the page to the code: a change is
// to be seen, since tables over older objects stand on it.
func TestTheSchemaIsTheOneThatIsDocumented(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "alert-parquet.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), "```parquet\n")
	old, after, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatalf("%s has no block of parquet", path)
	}
	schema := strings.ReplaceAll(parquet.SchemaOf(row{}).String(), "message row {", "message alert {") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(before+"```parquet\n"+schema+"```"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != schema {
		t.Errorf("the schema is\n%s\nrun the test with -update, if only columns were added, at the end", schema)
	}
}

func TestParquetHoldsAllOfAnAlert(t *testing.T) {
	full := pipeline.Alert{
		UUID: "u", CreatedAt: "2026-03-01T12:00:02.5Z", Kind: "crowdsec", Scenario: "s", ScenarioHash: "h", ScenarioVersion: "1", Message: "m",
		EventsCount: 6, StartAt: "2026-03-01T11:59:50Z", StopAt: "2026-03-01T12:00:01.25Z", Capacity: 5, Leakspeed: "10s", Simulated: true, Remediation: true,
		Labels: []string{"a", "b"}, Meta: []pipeline.MetaItem{{Key: "k", Value: "v"}},
		Source:    &pipeline.Source{Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7", Range: "192.0.2.0/24", AsNumber: "64500", AsName: "n", Cn: "FR", Latitude: 48.85, Longitude: 2.35},
		Events:    []pipeline.AlertEvent{{Timestamp: "2026-03-01T11:59:50Z", Meta: []pipeline.MetaItem{{Key: "x", Value: "y"}, {Key: "z", Value: ""}}}, {}},
		Decisions: []pipeline.Decision{{UUID: "d", Origin: "o", Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "4h", Until: "2026-03-01T16:00:01Z", Scenario: "s", Simulated: true}},
		Sluice: pipeline.AlertOrigin{
			Key: "192.0.2.7", Ordinal: 1, Depth: 2, Labels: map[string]any{"service": "ssh", "confidence": 3},
			Cause: pipeline.Position{Partition: pipeline.Partition{Source: "edge", Topic: "logs", ID: 3}, Offset: 99, Line: 1},
			First: pipeline.Position{Partition: pipeline.Partition{Source: "edge", Topic: "logs", ID: 3}, Offset: 90, Line: -1},
		},
	}
	c := Default()
	c.Objects = typeParquet
	rejected := &sinks.RejectedError{}
	body, err := c.encode(&partition{alerts: []*pipeline.Alert{&full, {UUID: "bare"}}, indexes: []int{0, 1}}, rejected)
	if err != nil || len(rejected.Alerts) > 0 {
		t.Fatal(err, rejected)
	}
	rows, err := parquet.Read[row](bytes.NewReader(body), int64(len(body)))
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	r := rows[0]
	if *r.CreatedAt != 1772366402500000 || *r.StopAt != 1772366401250000 || r.EventsCount != 6 || !r.Simulated || strings.Join(r.Labels, "") != "ab" ||
		*r.SourceCountry != "FR" || *r.SourceLatitude != 48.85 || r.Meta[0] != (rowMeta{"k", "v"}) || len(r.Events) != 2 || r.Events[1].Timestamp != nil ||
		r.Events[0].Meta[0] != (rowMeta{"x", "y"}) || r.Decisions[0].Value != "192.0.2.7" || *r.Decisions[0].Until != 1772380801000000 ||
		*r.ScenarioLabels != `{"confidence":3,"service":"ssh"}` || r.Cause != (rowPosition{"edge", "logs", 3, 99, 1}) || r.First.Line != -1 || r.Depth != 2 {
		t.Errorf("%+v", r)
	}
	bare := rows[1]
	if bare.UUID != "bare" || bare.StopAt != nil || bare.SourceIP != nil || bare.SourceLatitude != nil || len(bare.Events)+len(bare.Decisions) != 0 || bare.ScenarioLabels != nil {
		t.Errorf("%+v", bare)
	}
}
