package table

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// The formats of a list.
const (
	Text = "table"
	JSON = "json"
	CSV  = "csv"
)

// Check tells whether a format is known.
func Check(format string) error {
	if format != Text && format != JSON && format != CSV {
		return fmt.Errorf("the flag --output can be table, json or csv, not %q", format)
	}
	return nil
}

// Write writes rows under a header, or items, the same things in full, as JSON.
// An empty list says so on a terminal.
func Write(w io.Writer, format string, header []string, rows [][]string, items any) error {
	switch format {
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(items)
	case CSV:
		out := csv.NewWriter(w)
		if err := out.Write(header); err != nil {
			return err
		}
		return out.WriteAll(rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, strings.ToUpper(strings.Join(header, "\t")))
	for _, row := range rows {
		plain := make([]string, len(row))
		for i, cell := range row {
			plain[i] = printable(cell)
		}
		fmt.Fprintln(out, strings.Join(plain, "\t"))
	}
	return out.Flush()
}

// printable keeps an attacker's words from acting on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
