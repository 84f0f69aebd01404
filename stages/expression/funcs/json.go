package funcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/buger/jsonparser"
)

func jsonTable() []Function {
	return []Function{
		pure2("JsonExtract", func(blob, path string) string { return extract(blob, jsonPath(path)) }),
		{Name: "JsonExtractLib", Pure: true, Types: []any{new(func(string, ...string) string)}, Call: func(args ...any) (any, error) {
			blob, path, err := blobAndPath("JsonExtractLib", args)
			if err != nil {
				return nil, err
			}
			return extract(blob, path), nil
		}},
		{Name: "JsonExtractUnescape", Pure: true, Types: []any{new(func(string, ...string) string)}, Call: func(args ...any) (any, error) {
			blob, path, err := blobAndPath("JsonExtractUnescape", args)
			if err != nil {
				return nil, err
			}
			s, err := getString(blob, path)
			if err != nil {
				return "", nil
			}
			return s, nil
		}},
		pure2("JsonExtractSlice", func(blob, path string) []any {
			var out []any
			if raw, ok := extractTyped(blob, path, jsonparser.Array); !ok || json.Unmarshal(raw, &out) != nil {
				return nil
			}
			return out
		}),
		pure2("JsonExtractObject", func(blob, path string) map[string]any {
			var out map[string]any
			if raw, ok := extractTyped(blob, path, jsonparser.Object); !ok || json.Unmarshal(raw, &out) != nil {
				return nil
			}
			return out
		}),
		pure1("ToJsonString", func(v any) string {
			out, err := json.Marshal(v)
			if err != nil {
				return ""
			}
			return string(out)
		}),
		{Name: "UnmarshalJSON", Writes: true, Types: []any{new(func(string, map[string]any, string) error)}, Call: unmarshalJSON},
	}
}

// jsonPath splits a path such as a.b[0].c into keys and indexes.
func jsonPath(path string) []string {
	if !strings.HasPrefix(path, "[") {
		path = strings.ReplaceAll(path, "[", ".[")
	}
	return strings.Split(path, ".")
}

func blobAndPath(name string, args []any) (string, []string, error) {
	blob, err := arg[string](name, args, 0)
	if err != nil {
		return "", nil, err
	}
	var path []string
	for _, a := range args[1:] {
		switch p := a.(type) {
		case string:
			path = append(path, p)
		case []string:
			path = append(path, p...)
		default:
			return "", nil, fmt.Errorf("%s: a path is text, not %T", name, a)
		}
	}
	return blob, path, nil
}

// extract returns the JSON text at a path, not unescaped (FIDELITY 10), "" when there is none.
func extract(blob string, path []string) string {
	value, kind, err := get(blob, path)
	if err != nil || kind == jsonparser.NotExist {
		return ""
	}
	return string(value)
}

func extractTyped(blob, path string, want jsonparser.ValueType) ([]byte, bool) {
	value, kind, err := get(blob, jsonPath(path))
	return value, err == nil && kind == want
}

var errJSON = errors.New("the JSON cannot be read")

// get reads bytes that nobody checked; the parser must not take the program
// down with what it makes of them.
func get(blob string, path []string) (value []byte, kind jsonparser.ValueType, err error) {
	defer func() {
		if recover() != nil {
			err = errJSON
		}
	}()
	value, kind, _, err = jsonparser.Get([]byte(blob), path...)
	return value, kind, err
}

func getString(blob string, path []string) (s string, err error) {
	defer func() {
		if recover() != nil {
			err = errJSON
		}
	}()
	return jsonparser.GetString([]byte(blob), path...)
}

// unmarshalJSON writes a JSON value into a map under a key.
func unmarshalJSON(args ...any) (any, error) {
	blob, target, key, err := blobTargetKey("UnmarshalJSON", args)
	if err != nil {
		return nil, err
	}
	var out any
	if err := json.Unmarshal([]byte(blob), &out); err != nil {
		return nil, fmt.Errorf("UnmarshalJSON: %w", err)
	}
	target[key] = out
	return nil, nil
}

func blobTargetKey(name string, args []any) (blob string, target map[string]any, key string, err error) {
	if blob, err = arg[string](name, args, 0); err != nil {
		return
	}
	if target, err = arg[map[string]any](name, args, 1); err != nil {
		return
	}
	if target == nil {
		err = fmt.Errorf("%s: there is no map to write to", name)
		return
	}
	key, err = arg[string](name, args, 2)
	return
}
