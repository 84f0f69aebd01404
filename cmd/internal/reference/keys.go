package reference

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"sluice/pipeline/component"
)

// Key is a key of a configuration's mapping.
type Key struct {
	Name string
	// Type is what a value is: string, bool, number, duration, size, mapping,
	// or a list or map of those.
	Type string
	// Default is the value where the key is left out; "" for the empty text,
	// list or map, and for mappings.
	Default string
	// Text says what the key means, in Markdown.
	Text string
	// Required says that the kind's example does not work without the key.
	Required bool
	// Keys are those of a mapping, or of the mappings of a list or map.
	Keys []Key
}

// keysOf describes a struct's keys. path is where it stands, for Required.
func (b *Builder) keysOf(v reflect.Value, path string, required map[string]bool) ([]Key, error) {
	comments, err := b.comments.Fields(v.Type())
	if err != nil {
		return nil, err
	}
	names := make(map[string]string)
	for i := range v.NumField() {
		if key, _ := keyOf(v.Type().Field(i)); key != "" {
			names[v.Type().Field(i).Name] = key
		}
	}
	var out []Key
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, inline := keyOf(field)
		if inline {
			keys, err := b.keysOf(settle(v.Field(i)), path, required)
			if err != nil {
				return nil, err
			}
			out = append(out, keys...)
			continue
		}
		if name == "" {
			continue
		}
		comment, ok := comments[field.Name]
		if !ok {
			return nil, fmt.Errorf("%s.%s, the key %s%s, has no doc comment: it is the reference that users read", v.Type(), field.Name, path, name)
		}
		key := Key{Name: name, Type: typeOf(field.Type), Default: valueOf(v.Field(i)), Text: prose(comment, field.Name, names), Required: required[path+name]}
		if inner, ok := structIn(v.Field(i)); ok {
			if key.Keys, err = b.keysOf(inner, path+name+".", required); err != nil {
				return nil, err
			}
		}
		out = append(out, key)
	}
	return out, nil
}

// keyOf returns a field's key, "" when it has none, and whether its own fields are keys in its place.
func keyOf(f reflect.StructField) (key string, inline bool) {
	key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case strings.Contains(options, "inline"):
		return "", true
	case !f.IsExported() || key == "-":
		return "", false
	case key == "":
		return strings.ToLower(f.Name), false
	}
	return key, false
}

// settle follows a pointer; a nil one to the zero value.
func settle(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return reflect.New(v.Type().Elem()).Elem()
		}
		v = v.Elem()
	}
	return v
}

// structIn returns the mapping that a value is, or the empty one of which it is a list or map.
func structIn(v reflect.Value) (reflect.Value, bool) {
	v = settle(v)
	t := v.Type()
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		t = t.Elem()
		v = reflect.New(t).Elem()
	}
	return v, t.Kind() == reflect.Struct && !readsText(t)
}

// readsText tells whether values of a type are written as one text.
func readsText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func typeOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[component.Bytes]():
		return "size"
	case readsText(t):
		return "string"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Slice, reflect.Array:
		return "list of " + plural(typeOf(t.Elem()))
	case reflect.Map:
		return "map of " + plural(typeOf(t.Elem()))
	case reflect.Struct:
		return "mapping"
	case reflect.Interface:
		return "any value"
	}
	return "number"
}

// plural is that of a type: "list of strings" gives "lists of strings".
func plural(t string) string {
	if kind, of, ok := strings.Cut(t, " of "); ok {
		return kind + "s of " + of
	}
	return t + "s"
}

// valueOf writes a default as a configuration would.
func valueOf(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	v = settle(v)
	switch v.Kind() {
	case reflect.Slice:
		texts := make([]string, v.Len())
		for i := range texts {
			if texts[i] = valueOf(v.Index(i)); texts[i] == "" {
				return "" // a list of mappings, which has no short form
			}
			texts[i] = scalar(texts[i])
		}
		if len(texts) == 0 {
			return ""
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case reflect.Map, reflect.Struct, reflect.Interface:
		if !readsText(v.Type()) {
			return ""
		}
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return duration(d)
	}
	return fmt.Sprint(v.Interface())
}

// duration writes 10m where Go writes 10m0s.
func duration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if whole, ok := strings.CutSuffix(text, zero); ok {
			text = whole + zero[:1]
		}
	}
	return text
}
