package rules

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Error is a fault of a rule file, told to the person who wrote the rule.
type Error struct {
	Pos        Pos
	Rule       string // the rule's YAML name, "" when it is not known
	Message    string // a sentence without the place
	Source     string // the line of the file at Pos, "" when there is none
	Suggestion string // what was probably meant, or ""
}

// Error renders place, message, suggestion and the offending line in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String())
	b.WriteString(": ")
	b.WriteString(e.Message)
	if e.Rule != "" {
		fmt.Fprintf(&b, " (in %s)", e.Rule)
	}
	if e.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Suggestion)
	}
	if src := strings.TrimSpace(e.Source); src != "" {
		b.WriteString(" | ")
		b.WriteString(cut(src, 120))
	}
	return b.String()
}

// Detail renders the error over several lines, with a mark below the
// offending column, for a terminal.
func (e *Error) Detail() string {
	short := *e
	short.Source = ""
	if e.Source == "" {
		return short.Error()
	}
	const tab = "    " // a tab would move the mark
	number := strconv.Itoa(e.Pos.Line)
	runes := []rune(e.Source)
	column := min(max(e.Pos.Column, 1), len(runes)+1)
	lead := strings.ReplaceAll(string(runes[:column-1]), "\t", tab)
	return fmt.Sprintf("%s\n  %s | %s\n  %s | %s^", short.Error(),
		number, strings.ReplaceAll(e.Source, "\t", tab),
		strings.Repeat(" ", len(number)), strings.Repeat(" ", len([]rune(lead))))
}

// NewError makes an Error about a place in a rule file and reads the
// offending line from that file. Steps that compile a Text use it with the
// place that Text.At gives.
func NewError(pos Pos, rule, message, suggestion string) *Error {
	e := &Error{Pos: pos, Rule: rule, Message: message, Suggestion: suggestion}
	if src, err := os.ReadFile(pos.File); err == nil {
		e.Source = newSource(pos.File, src).excerpt(pos.Line)
	}
	return e
}

// Errors are several faults, in the order of files and lines.
type Errors []*Error

// Error renders one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the faults to errors.As and errors.Is.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

// asError is nil for no fault, the fault itself for one, Errors for more.
func (e Errors) asError() error {
	switch len(e) {
	case 0:
		return nil
	case 1:
		return e[0]
	}
	return e
}

// String renders file:line:column, leaving out what is not known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// At gives the place in the rule file of a line and column (from 1) inside
// the text. It is exact for one-line values and for block scalars (| and
// >) and near for quoted values that are folded over lines.
func (t Text) At(line, column int) Pos {
	p := t.Pos
	p.Line += max(line, 1) - 1
	p.Column += max(column, 1) - 1
	return p
}

// source is a file's text with the places where its lines begin.
type source struct {
	file   string
	text   []byte
	starts []int
}

func newSource(file string, text []byte) *source {
	s := &source{file: file, text: text, starts: make([]int, 1, 1+bytes.Count(text, []byte{'\n'}))}
	for i, c := range text {
		if c == '\n' {
			s.starts = append(s.starts, i+1)
		}
	}
	return s
}

// line returns line n (from 1) without its end, "" when there is none.
func (s *source) line(n int) []byte {
	if n < 1 || n > len(s.starts) {
		return nil
	}
	end := len(s.text)
	if n < len(s.starts) {
		end = s.starts[n] - 1
	}
	return bytes.TrimRight(s.text[s.starts[n-1]:end], "\r")
}

// excerpt is line n as an Error shows it: the first maxExcerpt bytes or so.
func (s *source) excerpt(n int) string {
	const maxExcerpt = 400
	line := s.line(n)
	return strings.ToValidUTF8(string(line[:min(len(line), maxExcerpt)]), "\ufffd")
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
