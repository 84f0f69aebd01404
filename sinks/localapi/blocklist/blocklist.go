package blocklist

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sluice/pipeline/decisions"
)

// Decision is an item of a list.
type Decision struct {
	Value    string `json:"value"`
	Scope    string `json:"scope,omitempty"`
	Type     string `json:"type,omitempty"`
	Duration string `json:"duration,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Scenario is another name for Reason, and Origin is read and left to the caller.
	Scenario string `json:"scenario,omitempty"`
	Origin   string `json:"origin,omitempty"`
}

// The formats of a list.
const (
	Plain = "plain"
	CSV   = "csv"
	JSON  = "json"
)

// Options say how a list is read, and what holds where it says nothing.
type Options struct {
	// Format is one of Plain, CSV and JSON; told by the list's beginning when empty.
	Format string
	// Type, Duration and Reason are those of items that have none.
	Type, Duration, Reason string
	// Scope is that of items without one; when empty they are addresses and ranges.
	Scope string
	// Skip, when set, is called with what is wrong with an item and where it
	// stands; nil goes on with the next. Without it the first one ends the reading.
	Skip func(error) error
}

// ErrPage says that a web page came instead of a list, as servers send it that
// ask for a password or have an error.
var ErrPage = errors.New("it is a web page, no list")

// maxLine bounds a line of a plain list, in bytes.
const maxLine = 64 << 10

// Read calls take with every item of a list, its value in the form that is
// kept. An error says in which line or item, and ends the reading; take's own too.
func Read(in io.Reader, o Options, take func(Decision) error) error {
	r := bufio.NewReaderSize(in, maxLine)
	format := o.Format
	if format == "" {
		format = guess(r)
	}
	if strings.HasPrefix(head(r), "<") {
		return ErrPage
	}
	skip := func(place string, err error) error {
		if err = fmt.Errorf("%s: %w", place, err); o.Skip != nil {
			return o.Skip(err)
		}
		return err
	}
	each := func(place string, d Decision) error {
		if err := complete(&d, o); err != nil {
			return skip(place, err)
		}
		return take(d)
	}
	switch format {
	case Plain:
		return readPlain(r, each)
	case CSV:
		return readCSV(r, each, skip)
	case JSON:
		return readJSON(r, each, skip)
	}
	return fmt.Errorf("%q is no format of a list; it can be plain, csv or json", format)
}

// guess tells a format by its first line.
func guess(r *bufio.Reader) string {
	text := head(r)
	first, _, _ := strings.Cut(text, "\n")
	switch {
	case strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{"):
		return JSON
	case strings.Contains(first, ",") && slices.Contains(columns(strings.Split(first, ",")), "value"):
		return CSV
	}
	return Plain
}

// head returns how a list begins, without what is not seen.
func head(r *bufio.Reader) string {
	text, _ := r.Peek(4096) // what there is, is looked at
	return strings.TrimLeft(strings.TrimPrefix(string(text), "\ufeff"), " \t\r\n")
}

func columns(header []string) []string {
	out := make([]string, len(header))
	for i, name := range header {
		out[i] = strings.ToLower(strings.Trim(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")), `"`))
	}
	return out
}

// complete fills in what an item does not say.
func complete(d *Decision, o Options) error {
	if d.Reason == "" {
		d.Reason = d.Scenario
	}
	d.Scenario = ""
	for _, f := range []struct {
		to        *string
		otherwise string
	}{{&d.Type, o.Type}, {&d.Duration, o.Duration}, {&d.Reason, o.Reason}} {
		if *f.to == "" {
			*f.to = f.otherwise
		}
	}
	if d.Scope == "" {
		d.Scope = o.Scope
	}
	if scope := decisions.CanonicalScope(d.Scope); d.Scope != "" && scope != decisions.ScopeIP && scope != decisions.ScopeRange {
		if d.Value == "" {
			return errors.New("it has no value")
		}
		d.Scope = scope
		return nil
	}
	p, err := decisions.ParsePrefix(d.Value)
	if err != nil {
		return err
	}
	one := p.IsSingleIP() && decisions.CanonicalScope(d.Scope) != decisions.ScopeRange // which says so is kept as it is
	d.Scope, d.Value = decisions.ScopeRange, p.String()
	if one {
		d.Scope, d.Value = decisions.ScopeIP, p.Addr().String()
	}
	return nil
}

// readPlain reads an address or a range a line; comments stand behind # or ;,
// and of several words the first counts.
func readPlain(r io.Reader, take func(string, Decision) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimPrefix(lines.Text(), "\ufeff")
		if i := strings.IndexAny(text, "#;"); i >= 0 {
			text = text[:i]
		}
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := take(fmt.Sprintf("line %d", n), Decision{Value: words[0]}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

func readCSV(r io.Reader, take func(string, Decision) error, skip func(string, error) error) error {
	in := csv.NewReader(r)
	in.ReuseRecord, in.FieldsPerRecord, in.TrimLeadingSpace = true, -1, true
	header, err := in.Read()
	if err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	names := columns(header)
	if !slices.Contains(names, "value") {
		return fmt.Errorf("the header has no column value: %s", strings.Join(names, ", "))
	}
	for {
		row, err := in.Read()
		if err == io.EOF {
			return nil
		}
		if bad := (*csv.ParseError)(nil); errors.As(err, &bad) {
			if err := skip(fmt.Sprintf("line %d", bad.Line), bad.Err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		var d Decision
		for i, cell := range row {
			if i >= len(names) {
				break
			}
			cell = strings.Clone(strings.TrimSpace(cell))
			switch names[i] {
			case "value":
				d.Value = cell
			case "scope":
				d.Scope = cell
			case "type":
				d.Type = cell
			case "duration":
				d.Duration = cell
			case "reason", "scenario":
				d.Reason = cell
			case "origin":
				d.Origin = cell
			}
		}
		line, _ := in.FieldPos(0)
		if err := take(fmt.Sprintf("line %d", line), d); err != nil {
			return err
		}
	}
}

// readJSON reads an array of items, one after the other: decisions, or alerts
// with decisions in them as cscli prints them. An object is what the local
// API's stream answers: the array is under "new".
func readJSON(r io.Reader, take func(string, Decision) error, skip func(string, error) error) error {
	in := json.NewDecoder(r)
	open, err := in.Token()
	if err == nil && open == json.Delim('{') {
		open, err = findNew(in)
	}
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if open != json.Delim('[') {
		return errors.New("it is no array of decisions")
	}
	for n := 1; in.More(); n++ {
		var d struct {
			Decision
			Decisions []Decision `json:"decisions"`
		}
		place := fmt.Sprintf("item %d", n)
		if err := in.Decode(&d); err != nil {
			bad := (*json.UnmarshalTypeError)(nil)
			if !errors.As(err, &bad) {
				return fmt.Errorf("%s: %w", place, err)
			}
			if err := skip(place, err); err != nil {
				return err
			}
			continue
		}
		if d.Value != "" || d.Decisions == nil {
			d.Decisions = append(d.Decisions[:0], d.Decision)
		}
		for _, one := range d.Decisions {
			if err := take(place, one); err != nil {
				return err
			}
		}
	}
	if _, err := in.Token(); err != nil {
		return fmt.Errorf("the array does not end: %w", err)
	}
	return nil
}

// findNew goes to the value of the key "new" of an object.
func findNew(in *json.Decoder) (json.Token, error) {
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, err
		}
		if key == "new" {
			return in.Token()
		}
		var other json.RawMessage
		if err := in.Decode(&other); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
