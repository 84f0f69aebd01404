package expression

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"sluice/pipeline/component"
)

// Error is a compile error with its place in the expression.
type Error struct {
	Line, Column int // from 1
	Message      string
	Snippet      string
	Suggestion   string // "" or what was probably meant
}

// Error gives the message and the suggestion.
func (e *Error) Error() string {
	if e.Suggestion != "" {
		return fmt.Sprintf("%s (did you mean %q?)", e.Message, e.Suggestion)
	}
	return e.Message
}

var (
	unknownName  = regexp.MustCompile(`^unknown name (\S+)`)
	unknownField = regexp.MustCompile(`^type (\S+) has no (?:field|method) (\S+)`)
)

// explain turns expr's error into one of ours.
func (c *Compiler) explain(src string, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var fe *file.Error
	if !errors.As(err, &fe) {
		message, _, _ := strings.Cut(err.Error(), "\n") // expr adds a stack when its compiler panics
		return &Error{Line: 1, Column: 1, Message: message, Snippet: shorten(src)}
	}
	out := &Error{Line: max(fe.Line, 1), Column: fe.Column + 1, Message: fe.Message, Snippet: lineOf(src, max(fe.Line, 1))}
	if m := unknownName.FindStringSubmatch(fe.Message); m != nil {
		out.Message = fmt.Sprintf("there is no helper or name %q", m[1])
		out.Suggestion = component.Nearest(m[1], c.names())
	} else if m := unknownField.FindStringSubmatch(fe.Message); m != nil {
		out.Message = fmt.Sprintf("there is no field or method %q here", m[2])
		out.Suggestion = component.Nearest(m[2], fieldNames())
	}
	return out
}

// names lists what an expression may name.
func (c *Compiler) names() []string {
	names := []string{"evt"}
	for n := range c.helpers {
		names = append(names, n)
	}
	for n := range contextual {
		names = append(names, n)
	}
	return append(names, builtin.Names...)
}

// fieldNames lists the fields and methods of events, for suggestions.
func fieldNames() []string {
	return []string{
		"Type", "Whitelisted", "WhitelistReason", "Stage", "Line", "Parsed", "Enriched", "Unmarshaled", "Meta",
		"Overflow", "Time", "StrTime", "StrTimeFormat", "MarshaledTime", "Process", "Appsec",
		"Raw", "Src", "Labels", "Module", "Mapkey", "Reprocess", "Sources", "Alert", "APIAlerts", "Source", "Events",
		"GetType", "GetMeta", "SetMeta", "SetParsed", "GetScope", "GetValue", "GetScenario", "GetSources", "GetEventsCount",
	}
}

// lineOf returns a line of the source, cut to what fits on a screen.
func lineOf(src string, line int) string {
	for i := 1; i < line; i++ {
		_, rest, ok := strings.Cut(src, "\n")
		if !ok {
			break
		}
		src = rest
	}
	src, _, _ = strings.Cut(src, "\n")
	if src = strings.TrimSpace(src); len(src) > 120 {
		src = src[:117] + "..."
	}
	return strings.ToValidUTF8(src, "?")
}

// runError strips the source from an error of the VM: whoever logs it names the rule.
func runError(err error) error {
	var fe *file.Error
	if errors.As(err, &fe) {
		return errors.New(fe.Message)
	}
	return err
}

func shorten(s string) string {
	if s = strings.Join(strings.Fields(s), " "); len(s) > 100 {
		return strings.ToValidUTF8(s[:97], "") + "..."
	}
	return s
}
