package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
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

// TestATableIsAlignedAsTabwriterDoes holds grid to the plain way to align a table.
func TestATableIsAlignedAsTabwriterDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "a", "two words", "é", "日本語", "\xff\xfe", "tab\there", "line\nbreak", "\x1b[2J", "\u009b", ""}
	for _, n := range []int{1, 2, 50, 3000} {
		words[len(words)-1] = strings.Repeat("long ", 6000/n) // longer than a chunk, too
		header, rows := []string{"id", "what", "why", "last"}, make([][]string, n)
		for i := range rows {
			rows[i] = []string{fmt.Sprint(i), words[r.IntN(len(words)-1)], words[r.IntN(len(words)-1)], words[r.IntN(len(words)-1)]}
			if i%700 == 1 {
				rows[i][1+i%3] = words[len(words)-1]
			}
		}
		var want, got bytes.Buffer
		plain := tabwriter.NewWriter(&want, 0, 0, 2, ' ', 0)
		fmt.Fprintln(plain, strings.ToUpper(strings.Join(header, "\t")))
		for _, row := range rows {
			cells := make([]string, len(row))
			for i := range row {
				cells[i] = printable(row[i])
			}
			fmt.Fprintln(plain, strings.Join(cells, "\t"))
		}
		if err := errors.Join(plain.Flush(), Write(&got, Text, header, rows, nil)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%d rows are not aligned as they were", n)
		}
	}
}

// TestItemsAreWrittenAsAWholeListIs holds JSON that is written as it comes to that of a list.
func TestItemsAreWrittenAsAWholeListIs(t *testing.T) {
	type item struct {
		Name string            `json:"name"`
		More map[string]string `json:"more,omitempty"`
		List []int             `json:"list"`
	}
	for _, items := range [][]item{{}, {{Name: "<a> & \u2028 \x1b"}}, {{Name: "a", More: map[string]string{"b": "c"}}, {List: []int{}}, {List: []int{1, 2}}}} {
		var want, got bytes.Buffer
		if err := Write(&want, JSON, nil, nil, items); err != nil {
			t.Fatal(err)
		}
		out := NewWriter(&got, JSON, nil)
		for _, it := range items {
			if err := out.Row(nil, it); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.Close(); err != nil || got.String() != want.String() || !json.Valid(got.Bytes()) {
			t.Errorf("%+v is written as %s, want %s; %v", items, got.String(), want.String(), err)
		}
	}
}

// full is a disk that takes nothing.
type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestWhatCannotBeWrittenIsAnError in every format, however much there is.
func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	for _, format := range []string{Text, JSON, CSV} {
		for _, rows := range []int{0, 1, 100_000} {
			out, err := NewWriter(full{}, format, []string{"name"}), error(nil)
			for i := 0; i < rows && err == nil; i++ {
				err = out.Row([]string{"name"}, "name")
			}
			if err == nil {
				err = out.Close()
			}
			if !errors.Is(err, errFull) {
				t.Errorf("%s of %d rows: %v", format, rows, err)
			}
		}
	}
}
