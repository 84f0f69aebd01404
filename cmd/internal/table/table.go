package table

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
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
	if format == JSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(items)
	}
	out := NewWriter(w, format, header)
	for _, row := range rows {
		if err := out.Row(row, nil); err != nil {
			return err
		}
	}
	return out.Close()
}

// Writer writes a list of any length as it comes, byte for byte as Write does:
// a row of JSON or CSV at once, a table when it is whole, since its columns are
// as wide as their widest cells.
type Writer struct {
	out    *bufio.Writer
	format string
	csv    *csv.Writer // CSV
	item   bytes.Buffer
	json   *json.Encoder // JSON, into item
	grid   grid          // Text
	rows   int
}

// NewWriter returns a writer of a list. Little is written before Close, and
// nothing where a list breaks off before its first row.
func NewWriter(w io.Writer, format string, header []string) *Writer {
	out := &Writer{out: bufio.NewWriterSize(w, 64<<10), format: format}
	switch format {
	case JSON:
		out.json = json.NewEncoder(&out.item)
		out.json.SetEscapeHTML(false)
		out.json.SetIndent("  ", "  ") // the items of a list stand two columns in
	case CSV:
		out.csv = csv.NewWriter(out.out)
		_ = out.csv.Write(header) // an error stays, and is returned at the end
	default:
		out.grid.add(strings.Split(strings.ToUpper(strings.Join(header, "\t")), "\t"))
	}
	return out
}

// Row adds a row, or the same thing in full, as JSON. It keeps neither.
func (w *Writer) Row(cells []string, item any) error {
	w.rows++
	switch w.format {
	case JSON:
		before := ",\n  "
		if w.rows == 1 {
			before = "[\n  "
		}
		w.item.Reset()
		if err := w.json.Encode(item); err != nil {
			return err
		}
		_, _ = w.out.WriteString(before) // an error stays
		_, err := w.out.Write(bytes.TrimSuffix(w.item.Bytes(), []byte("\n")))
		return err
	case CSV:
		return w.csv.Write(cells)
	}
	w.grid.add(cells)
	return nil
}

// Close ends a list that is whole.
func (w *Writer) Close() error {
	end := ""
	switch {
	case w.format == JSON && w.rows == 0:
		end = "[]\n"
	case w.format == JSON:
		end = "\n]\n"
	case w.format == CSV:
		w.csv.Flush() // into out
	case w.rows == 0:
		end = "none\n"
	default:
		w.grid.write(w.out)
	}
	_, _ = w.out.WriteString(end) // an error stays
	return w.out.Flush()
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
