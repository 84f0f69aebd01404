package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/cmd/internal/table"
)

// TestALongReportIsCutForATerminal and for nobody else.
func TestALongReportIsCutForATerminal(t *testing.T) {
	var items []string
	for i := range maxRows + 7 {
		items = append(items, fmt.Sprintf(`{"name":"m%03d","value":%d,"unit":"%s"}`, i, i, strings.Repeat("é", maxCell+1)))
	}
	report := json.RawMessage(`{"log_processors":[{"metrics":[{"meta":{},"items":[` + strings.Join(items, ",") + `]}]}]}`)
	write := func(format string) string {
		var out strings.Builder
		if err := inspect(&out, format, [][]string{{"name", "a"}}, report, nil); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for format, last := range map[string]int{table.Text: maxRows - 1, table.CSV: maxRows + 6} {
		out := write(format)
		if !strings.Contains(out, fmt.Sprintf("\nm%03d", last)) || strings.Contains(out, fmt.Sprintf("\nm%03d", last+1)) {
			t.Errorf("%s does not end with metric %d:\n%s", format, last, out)
		}
		if cut := !strings.Contains(out, strings.Repeat("é", maxCell+1)); cut != (format == table.Text) {
			t.Errorf("%s: a cell is cut: %v", format, cut)
		}
	}
	if out := write(table.Text); !strings.HasSuffix(out, "… and 7 more; -o json shows all\n") {
		t.Errorf("it is not said what is left out:\n%s", out)
	}
}
