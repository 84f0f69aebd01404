package funcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/buger/jsonparser"
)

func jsonTable() []Function {
	paths := newMemo(maxPaths, jsonPath)
	return []Function{
		pure2("JsonExtract", func(blob, path string) string { return extract(blob, paths.get(path)) }),
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
			return extractUnescaped(blob, path), nil
		}},
		pure2("JsonExtractSlice", func(blob, path string) []any {
			var out []any
			if raw, ok := extractTyped(blob, paths.get(path), jsonparser.Array); !ok || json.Unmarshal(raw, &out) != nil {
				return nil
			}
			return out
		}),
		pure2("JsonExtractObject", func(blob, path string) map[string]any {
			var out map[string]any
			if raw, ok := extractTyped(blob, paths.get(path), jsonparser.Object); !ok || json.Unmarshal(raw, &out) != nil {
				return nil
			}
			return out
		}),
		pure1("ToJsonString", toJSON),
		pure1("ToJson", toJSON),
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

// extract returns the JSON text at a path, not unescaped (FIDELITY 10), ""
// when there is none. It aliases blob.
func extract(blob string, path []string) string {
	value, kind, err := get(blob, path)
	if err != nil || kind == jsonparser.NotExist {
		return ""
	}
	return unsafe.String(unsafe.SliceData(value), len(value))
}

// extractUnescaped returns the string at a path with its escapes read, "" for
// what is no string.
func extractUnescaped(blob string, path []string) string {
	value, kind, err := get(blob, path)
	if err != nil || kind != jsonparser.String {
		return ""
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return unsafe.String(unsafe.SliceData(value), len(value))
	}
	s, err := jsonparser.ParseString(value)
	if err != nil {
		return ""
	}
	return s
}

func toJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(out)
}

func extractTyped(blob string, path []string, want jsonparser.ValueType) ([]byte, bool) {
	value, kind, err := get(blob, path)
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
	value, kind, _, err = jsonparser.Get(bytesOf(blob), path...)
	return value, kind, err
}

// unmarshalJSON writes a JSON value into a map under a key.
func unmarshalJSON(args ...any) (any, error) {
	blob, target, key, err := blobTargetKey("UnmarshalJSON", args)
	if err != nil {
		return nil, err
	}
	var out any
	if err := json.Unmarshal(bytesOf(blob), &out); err != nil {
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
	if key, err = arg[string](name, args, 2); err != nil {
		return
	}
	return blob, target, strings.Clone(key), nil // the map keeps the key
}

// bytesOf returns the bytes of a string to readers.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
