package table

import (
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	header, rows := []string{"name", "value"}, [][]string{{"a", "1"}, {"long name", "x\x1b[2J,\"y\""}}
	for format, want := range map[string]string{
		Text: "NAME       VALUE\na          1\nlong name  x?[2J,\"y\"\n",
		CSV:  "name,value\na,1\nlong name,\"x\x1b[2J,\"\"y\"\"\"\n",
		JSON: "[\n  \"<item>\"\n]\n",
	} {
		var out strings.Builder
		if err := Write(&out, format, header, rows, []string{"<item>"}); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, out.String(), err, want)
		}
	}
	var out strings.Builder
	if err := Write(&out, Text, header, nil, nil); err != nil || out.String() != "none\n" {
		t.Errorf("nothing is written as %q", out.String())
	}
	if Check("xml") == nil || Check(CSV) != nil {
		t.Error("formats are not checked")
	}
}
