package component

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// words says in words what the YAML library says in Go's types.
func words(err yaml.Error) string {
	var kind *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	var large *yaml.OverflowError
	switch {
	case errors.As(err, &kind) && kind.DstType != nil && kind.SrcType != nil:
		return misfit(ofType(kind.DstType), ofType(kind.SrcType))
	case errors.As(err, &node):
		return misfit(ofNode(node.Expected), ofNode(node.Actual))
	case errors.As(err, &large) && large.DstType != nil:
		return fmt.Sprintf("%s is too large or too small for a number of this key", large.SrcNum)
	}
	return err.GetMessage()
}

// ofDuration says in words what time.ParseDuration says, which has the text
// last; any other message stays.
func ofDuration(message string) string {
	if _, text, ok := strings.Cut(message, "duration "); ok && strings.HasPrefix(message, "time: ") {
		return fmt.Sprintf("%s is no duration; write a number with a unit, such as 500ms, 10s or 4h", text)
	}
	return message
}

// The kinds of value that a key may have, as a person calls them.
const (
	aText     = "a text"
	aNumber   = "a number"
	aBool     = "true or false"
	aList     = "a list"
	aMapping  = "a mapping of keys to values"
	aDuration = "a duration such as 500ms, 10s or 4h"
)

// misfit says that one kind of value stands where another is expected.
func misfit(want, got string) string {
	text := fmt.Sprintf("%s is expected here, and not %s", want, got)
	switch {
	case want == aList:
		text += "; begin each item with a dash, or write [one, another]"
	case want == aText && got == aMapping:
		text += "; a text with a colon in it needs quotes"
	}
	return text
}

func ofType(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return aDuration
	}
	switch t.Kind() {
	case reflect.Pointer:
		return ofType(t.Elem())
	case reflect.Bool:
		return aBool
	case reflect.String:
		return aText
	case reflect.Slice, reflect.Array:
		return aList
	case reflect.Map, reflect.Struct:
		return aMapping
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return aNumber
	}
	return t.String()
}

func ofNode(t ast.NodeType) string {
	switch t {
	case ast.SequenceType, ast.SequenceEntryType:
		return aList
	case ast.MappingType, ast.MappingValueType:
		return aMapping
	case ast.StringType, ast.LiteralType:
		return aText
	case ast.IntegerType, ast.FloatType:
		return aNumber
	case ast.BoolType:
		return aBool
	}
	return t.YAMLName()
}
