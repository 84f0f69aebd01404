package mqtt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxString is how long a text may be in the protocol, in bytes.
const maxString = 65535

// The kinds of a filter's levels.
const (
	levelText = iota // the level as it is written
	levelOne         // +: any one level
	levelRest        // #: this level and all below, and the one above
)

type level struct {
	kind int
	text string // of levelText
	name string // of the label that the level becomes; "" for none
}

// filter is a topic filter whose wildcards may have names.
type filter struct {
	// wire is the filter as the broker gets it, with $share/group/ where the subscription is shared.
	wire   string
	shared bool
	levels []level
}

// parseFilter reads a filter such as devices/{device}/auth, $share/group/logs/#
// or logs/{path...}: {name} stands for + and {name...} for #.
func parseFilter(text string) (filter, error) {
	var f filter
	if len(text) > maxString || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return f, fmt.Errorf("it must be UTF-8 without NUL, of at most %d bytes", maxString)
	}
	rest, prefix := text, ""
	if after, ok := strings.CutPrefix(text, "$share/"); ok {
		group, topics, ok := strings.Cut(after, "/")
		if !ok || group == "" || strings.ContainsAny(group, "+#{}") {
			return f, fmt.Errorf("a shared subscription is $share/GROUP/FILTER, and GROUP holds no + or #")
		}
		f.shared, rest, prefix = true, topics, "$share/"+group+"/"
	}
	if rest == "" {
		return f, fmt.Errorf("it is empty")
	}
	seen := make(map[string]bool)
	parts := strings.Split(rest, "/")
	wire := make([]string, len(parts))
	for i, part := range parts {
		l, err := parseLevel(part)
		switch {
		case err != nil:
			return f, err
		case l.kind == levelRest && i < len(parts)-1:
			return f, fmt.Errorf("%s stands for all levels from there on, so it must be the last", part)
		case l.name != "" && seen[l.name]:
			return f, fmt.Errorf("two levels are named %s", l.name)
		}
		seen[l.name] = true
		f.levels = append(f.levels, l)
		wire[i] = [...]string{l.text, "+", "#"}[l.kind]
	}
	f.wire = prefix + strings.Join(wire, "/")
	return f, nil
}

func parseLevel(part string) (level, error) {
	switch {
	case part == "+":
		return level{kind: levelOne}, nil
	case part == "#":
		return level{kind: levelRest}, nil
	case strings.ContainsAny(part, "+#"):
		return level{}, fmt.Errorf("the level %q must be + or # alone", part)
	case !strings.ContainsAny(part, "{}"):
		return level{text: part}, nil
	}
	name, ok := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	kind := levelOne
	if whole, ok := strings.CutSuffix(name, "..."); ok {
		name, kind = whole, levelRest
	}
	if !ok || !closed || !isName(name) {
		return level{}, fmt.Errorf("the level %q must be {name} or {name...}, with a name of letters, digits and _", part)
	}
	return level{kind: kind, name: name}, nil
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// match tells whether a topic is of the filter, and gives its named levels to found.
// A wildcard at the first level matches no topic that begins with $ (MQTT-4.7.2-1).
func (f *filter) match(topic string, found func(name, value string)) bool {
	if topic == "" || topic[0] == '$' && f.levels[0].kind != levelText {
		return false
	}
	rest, more := topic, true // more says that rest is a level, if an empty one
	for _, l := range f.levels {
		if l.kind == levelRest {
			if l.name != "" && more {
				found(l.name, rest)
			}
			return true
		}
		if !more {
			return false
		}
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if l.kind == levelText && part != l.text {
			return false
		}
		if l.name != "" {
			found(l.name, part)
		}
	}
	return !more
}

// overlaps tells whether there are topics that two filters both match: a
// broker may deliver their messages twice.
func overlaps(a, b []level) bool {
	switch {
	case len(a) > 0 && a[0].kind == levelRest, len(b) > 0 && b[0].kind == levelRest:
		return true
	case len(a) == 0 || len(b) == 0:
		return len(a) == len(b)
	case a[0].kind == levelText && b[0].kind == levelText && a[0].text != b[0].text:
		return false
	}
	return overlaps(a[1:], b[1:])
}
