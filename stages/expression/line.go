package expression

import (
	"strings"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// lineFunc is a pure function of a text whose result may live in the event's
// own memory: as long as the line.
type lineFunc func(ev *pipeline.Event, s string) string

// lineHelper returns the form of a helper that makes no garbage, where there is one.
func lineHelper(h *funcs.Function) lineFunc {
	switch h.Name {
	case "Upper":
		return func(ev *pipeline.Event, s string) string { return changeCase(ev, s, 'a', strings.ToUpper) }
	case "Lower":
		return func(ev *pipeline.Event, s string) string { return changeCase(ev, s, 'A', strings.ToLower) }
	}
	f := h.String1
	return func(_ *pipeline.Event, s string) string { return f(s) }
}

// changeCase turns the 26 letters from first on into those of the other case;
// plain does it for texts that are not ASCII.
func changeCase(ev *pipeline.Event, s string, first byte, plain func(string) string) string {
	change := false
	for i := range len(s) {
		if s[i] >= 0x80 {
			return plain(s)
		}
		change = change || s[i]-first < 26
	}
	if !change {
		return s
	}
	to := ev.Buffer(len(s))
	for i := range len(s) {
		c := s[i]
		if c-first < 26 {
			c ^= 0x20
		}
		to[i] = c
	}
	return pipeline.Alias(to)
}
