package expression

import (
	"fmt"
	"reflect"
	"strconv"
)

// Render turns a value into the text that a static writes (FIDELITY 7):
// strings as they are, integers in decimal, floats with six digits. nil, maps
// and lists write nothing, and neither does an empty text. Any other type,
// bool included, is an error.
func Render(v any) (text string, write bool, err error) {
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, v != "", nil
	case int:
		return strconv.Itoa(v), true, nil
	case float64:
		return strconv.FormatFloat(v, 'f', 6, 64), true, nil
	case float32:
		return strconv.FormatFloat(float64(v), 'f', 6, 64), true, nil
	case map[string]any, map[string]string, []any, []string:
		return "", false, nil
	}
	switch reflect.TypeOf(v).Kind() {
	case reflect.Map, reflect.Slice, reflect.Array:
		return "", false, nil
	}
	return "", false, fmt.Errorf("a value of type %T cannot be written to a field", v)
}
