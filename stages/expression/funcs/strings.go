package funcs

import (
	"encoding/base64"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
)

func stringTable() []Function {
	return []Function{
		pure1("Upper", strings.ToUpper),
		pure1("Lower", strings.ToLower),
		pure1("TrimSpace", strings.TrimSpace),
		pure2("Trim", strings.Trim),
		pure2("TrimLeft", strings.TrimLeft),
		pure2("TrimRight", strings.TrimRight),
		pure2("TrimPrefix", strings.TrimPrefix),
		pure2("TrimSuffix", strings.TrimSuffix),
		pure2("Split", strings.Split),
		pure2("SplitAfter", strings.SplitAfter),
		pure3("SplitN", strings.SplitN),
		pure3("SplitAfterN", strings.SplitAfterN),
		pure1("Fields", strings.Fields),
		pure2("Index", strings.Index),
		pure2("IndexAny", strings.IndexAny),
		pure3("ReplaceAll", strings.ReplaceAll),
		{Name: "Replace", Pure: true, Types: []any{new(func(string, string, string, int) string)}, Call: replace},
		{Name: "Sprintf", Pure: true, Types: []any{new(func(string, ...any) string)}, Call: sprintf},
		pure2("Match", Match),
		pure1("ToString", func(v any) string { s, _ := v.(string); return s }),
		{Name: "B64Decode", Pure: true, Types: []any{new(func(string) string)}, Call: b64Decode},
		pure1("Atof", func(s string) float64 { f, _ := strconv.ParseFloat(s, 64); return f }),
		{Name: "LogInfo", Outside: true, Types: []any{new(func(string, ...any) bool)}, Call: func(...any) (any, error) {
			// A line of log for each event would drown the log: explain shows values instead.
			return true, nil
		}},
		{Name: "Hostname", Outside: true, Types: []any{new(func() (string, error))}, Call: func(...any) (any, error) {
			return os.Hostname()
		}},
	}
}

func replace(args ...any) (any, error) {
	s, err := arg[string]("Replace", args, 0)
	if err != nil {
		return nil, err
	}
	from, err := arg[string]("Replace", args, 1)
	if err != nil {
		return nil, err
	}
	to, err := arg[string]("Replace", args, 2)
	if err != nil {
		return nil, err
	}
	n, err := arg[int]("Replace", args, 3)
	if err != nil {
		return nil, err
	}
	return strings.Replace(s, from, to, n), nil
}

func sprintf(args ...any) (any, error) {
	format, err := arg[string]("Sprintf", args, 0)
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf(format, args[1:]...), nil
}

func b64Decode(args ...any) (any, error) {
	s, err := arg[string]("B64Decode", args, 0)
	if err != nil {
		return nil, err
	}
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("B64Decode: %w", err)
	}
	return string(out), nil
}

// Match tells whether a name fits a pattern of * (any bytes) and ? (one byte).
// Where name ends, at most one * may be left: "a**" does not match "a". No
// rule should lean on that, but CrowdSec's recursion gives it, and
// TestMatchEqualsRecursion holds the two together. This one takes time
// |pattern| × |name| at most: on a mismatch only the last * is widened.
func Match(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return pattern[p:] == "" || pattern[p:] == "*"
}

func listTable() []Function {
	return []Function{
		pure2("Join", func(list []string, sep string) string { return strings.Join(list, sep) }),
		pure2("Get", func(list []string, i int) string {
			if i < 0 || i >= len(list) {
				return ""
			}
			return list[i]
		}),
		pure2("KeyExists", func(key string, m map[string]any) bool { _, ok := m[key]; return ok }),
		{Name: "Flatten", Pure: true, Call: func(args ...any) (any, error) { return flatten(nil, args), nil }},
		{Name: "Distinct", Pure: true, Call: func(args ...any) (any, error) {
			if len(args) != 1 {
				return nil, fmt.Errorf("helper Distinct: it takes one list")
			}
			v := reflect.ValueOf(args[0])
			if !v.IsValid() || v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
				return nil, nil
			}
			list := make([]any, v.Len())
			for i := range list {
				list[i] = v.Index(i).Interface()
			}
			return distinct(list)
		}},
		{Name: "FlattenDistinct", Pure: true, Call: func(args ...any) (any, error) { return distinct(flatten(nil, args)) }},
	}
}

func flatten(out []any, v any) []any {
	r := reflect.ValueOf(v)
	if !r.IsValid() || r.Kind() != reflect.Slice && r.Kind() != reflect.Array {
		return append(out, v)
	}
	for i := range r.Len() {
		out = flatten(out, r.Index(i).Interface())
	}
	return out
}

func distinct(list []any) (any, error) {
	seen := make(map[any]bool, len(list))
	out := make([]any, 0, len(list))
	for _, v := range list {
		if v != nil && !reflect.TypeOf(v).Comparable() {
			return nil, fmt.Errorf("helper Distinct: values of type %T cannot be compared", v)
		}
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out, nil
}
