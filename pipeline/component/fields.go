package component

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// unknownKeys finds the first key of a mapping that the struct type does not
// have, in nested structs too. The YAML library refuses unknown keys as well;
// this walk goes first because it can say what was meant.
func unknownKeys(node ast.Node, t reflect.Type, others ...string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if customDecoding(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Slice:
		if seq, ok := node.(*ast.SequenceNode); ok {
			for _, v := range seq.Values {
				if err := unknownKeys(v, t.Elem()); err != nil {
					return err
				}
			}
		}
	case reflect.Struct:
		m := mapping(node)
		if m == nil {
			return nil // of another shape: the decoder says so
		}
		fields := fieldsOf(t)
		for _, v := range m.Values {
			key := keyName(v)
			ft, ok := fields[key]
			if !ok {
				return unknownKey(v, key, fields, others)
			}
			if err := unknownKeys(v.Value, ft); err != nil {
				return err
			}
		}
	}
	return nil
}

func unknownKey(v *ast.MappingValueNode, key string, fields map[string]reflect.Type, others []string) error {
	if key == "<<" {
		return nil
	}
	names := append(make([]string, 0, len(fields)+len(others)), others...)
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	return errorAt(v.Key, fmt.Sprintf("unknown key %q; known here are %s", key, strings.Join(names, ", ")), Nearest(key, names))
}

// refused returns the deepest node that does not decode into its field: the
// YAML library gives no place to the errors of types that decode themselves.
func refused(node ast.Node, t reflect.Type) ast.Node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	m := mapping(node)
	if t.Kind() != reflect.Struct || m == nil || customDecoding(t) {
		return node
	}
	fields := fieldsOf(t)
	for _, v := range m.Values {
		if ft, ok := fields[keyName(v)]; ok && yaml.NodeToValue(v.Value, reflect.New(ft).Interface()) != nil {
			return refused(v.Value, ft)
		}
	}
	return node
}

func customDecoding(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	_, own := p.MethodByName("UnmarshalYAML")
	return own || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fieldsOf returns the YAML keys of a struct type and their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case strings.Contains(options, "inline"):
			ft := f.Type
			for ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			for n, t := range fieldsOf(ft) {
				out[n] = t
			}
		case name == "":
			out[strings.ToLower(f.Name)] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

// Nearest returns the candidate that a word was probably meant to be, or "".
func Nearest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements of bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
