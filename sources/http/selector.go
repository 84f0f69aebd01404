package http

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseSelector reads the labels of a stream as Loki's clients write them:
// {app="a", path="C:\\x"}. A value is a Go string, quoted or in backticks.
func parseSelector(text string) (map[string]string, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if !ok {
		return nil, errors.New("they do not begin with {")
	}
	if !utf8.ValidString(rest) {
		return nil, errors.New("they are no UTF-8")
	}
	out := make(map[string]string)
	for {
		rest = strings.TrimLeft(rest, " \t\n")
		if after, ok := strings.CutPrefix(rest, "}"); ok && strings.TrimSpace(after) == "" {
			return out, nil
		}
		name, after, err := selectorName(rest)
		if err != nil {
			return nil, err
		}
		rest = strings.TrimLeft(after, " \t\n")
		if rest, ok = strings.CutPrefix(rest, "="); !ok {
			return nil, errors.New("a name is not followed by =")
		}
		rest = strings.TrimLeft(rest, " \t\n")
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil || quoted[0] == '\'' {
			return nil, errors.New("a value is no string in quotes")
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, errors.New("a value is no string in quotes")
		}
		if len(out) == maxLabels {
			return nil, errors.New("there are too many")
		}
		if _, twice := out[name]; twice {
			return nil, errors.New("a name is there twice")
		}
		out[name] = value
		rest = strings.TrimLeft(rest[len(quoted):], " \t\n")
		if after, ok := strings.CutPrefix(rest, ","); ok {
			rest = after
		} else if !strings.HasPrefix(rest, "}") {
			return nil, errors.New("a value is followed by neither , nor }")
		}
	}
}

// selectorName takes a label's name, which may be in quotes, off a text.
func selectorName(text string) (name, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err == nil {
			name, err = strconv.Unquote(quoted)
		}
		if err != nil || name == "" {
			return "", "", errors.New("a name in quotes is no string")
		}
		return name, text[len(quoted):], nil
	}
	n := strings.IndexFunc(text, func(c rune) bool {
		return c != '_' && c != '.' && c != ':' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if n <= 0 {
		return "", "", errors.New("a name is missing, or the end }")
	}
	return text[:n], text[n:], nil
}
