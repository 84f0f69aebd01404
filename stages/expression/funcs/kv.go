package funcs

import (
	"errors"
	"fmt"
	"strings"
)

func kvTable() []Function {
	types := []any{new(func(string, map[string]any, string) error)}
	return []Function{
		{Name: "ParseKV", Writes: true, Types: types, Call: func(args ...any) (any, error) {
			return nil, parseInto("ParseKV", args, parseKV)
		}},
		{Name: "ParseKVLax", Writes: true, Types: types, Call: func(args ...any) (any, error) {
			return nil, parseInto("ParseKVLax", args, parseKVLax)
		}},
	}
}

var errNoPairs = errors.New("there is no key=value in the text")

// parseInto puts the pairs of a text into target[key], a map of strings that
// is made when it is not there.
func parseInto(name string, args []any, parse func(text string, put func(k, v string))) error {
	text, target, key, err := blobTargetKey(name, args)
	if err != nil {
		return err
	}
	pairs, ok := target[key].(map[string]string)
	if !ok {
		if target[key] != nil {
			return fmt.Errorf("%s: evt.Unmarshaled.%s is no map of strings", name, key)
		}
		pairs = make(map[string]string)
	}
	if name == "ParseKVLax" {
		target[key] = pairs // also when no pair is found, as CrowdSec does
	}
	text = strings.Clone(text) // the pairs outlive the line
	n := 0
	parse(text, func(k, v string) {
		n++
		pairs[k] = v
	})
	if n == 0 {
		return fmt.Errorf("%s: %w", name, errNoPairs)
	}
	target[key] = pairs
	return nil
}

func isKVSpace(b byte) bool {
	return b == ' ' || b == '\t' || b == '\n' || b == '\f' || b == '\r'
}

// parseKV finds key=value pairs: a key is a run without blanks and =; a value
// is quoted text, in which \ escapes and stays, or such a run, or nothing. It
// equals a regexp: TestParseKVEqualsPattern.
func parseKV(text string, put func(k, v string)) {
	start := -1 // of the run that may become a key
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case isKVSpace(b):
			start = -1
		case b != '=':
			if start < 0 {
				start = i
			}
		case start >= 0:
			value, end := kvValue(text, i+1)
			put(text[start:i], value)
			i, start = end-1, -1
		}
	}
}

// kvValue reads the value that begins at i and returns where it ends.
func kvValue(text string, i int) (value string, end int) {
	if i < len(text) && text[i] == '"' {
		for j := i + 1; j < len(text); j++ {
			if text[j] == '\\' {
				if j++; j < len(text) && text[j] == '\n' {
					break // CrowdSec's pattern lets a backslash escape all but the end of a line
				}
			} else if text[j] == '"' {
				return text[i+1 : j], j + 1
			}
		}
		// The quote is not closed: it is a character like others.
	}
	j := i
	for j < len(text) && text[j] != '=' && !isKVSpace(text[j]) {
		j++
	}
	if j == i {
		for j < len(text) && isKVSpace(text[j]) {
			j++
		}
		return "", j
	}
	return text[i:j], j
}

// parseKVLax finds key=value pairs whose values may hold blanks: a value ends
// where the next key begins. Keys are names; those inside quotes do not count. It equals a regexp: TestParseKVLaxEqualsPattern.
func parseKVLax(text string, put func(k, v string)) {
	type span struct{ key, eq int }
	var keys []span
	quoted := false
	for i := 0; i < len(text); {
		if !isNameStart(text[i]) {
			if text[i] == '"' && !escaped(text, i) {
				quoted = !quoted
			}
			i++
			continue
		}
		j := i + 1
		for j < len(text) && isNamePart(text[j]) {
			j++
		}
		if j < len(text) && text[j] == '=' && !quoted {
			keys = append(keys, span{i, j})
		}
		i = j
	}
	for n, k := range keys {
		end := len(text)
		if n+1 < len(keys) {
			end = keys[n+1].key
		}
		put(text[k.key:k.eq], laxValue(strings.TrimSpace(text[k.eq+1:end])))
	}
}

func isNameStart(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '_'
}

func isNamePart(b byte) bool {
	return isNameStart(b) || '0' <= b && b <= '9' || b == '.' || b == '-'
}

func escaped(text string, i int) bool {
	n := 0
	for i--; i >= 0 && text[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

func laxValue(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	if len(s) >= 2 && strings.HasSuffix(s, `"`) {
		s = strings.ReplaceAll(s[1:len(s)-1], `\\`, `\`)
		return strings.ReplaceAll(s, `\"`, `"`)
	}
	return s[1:]
}
