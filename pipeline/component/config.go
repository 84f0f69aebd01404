package component

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ConfigError is a mistake in a configuration, with its place.
type ConfigError struct {
	Line, Column int // from 1; 0 when the configuration did not come from a file
	Message      string
	Suggestion   string // "" or what was probably meant
}

// Error gives the place, the message and the suggestion.
func (e *ConfigError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Message)
	if e.Suggestion != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", e.Suggestion)
	}
	return b.String()
}

// FieldError is what a Validate method returns to blame one key, such as
// "brokers" or "tls.ca_file": Decode finds the key's place.
type FieldError struct {
	Field   string
	Message string
}

// Error gives the field and the message.
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Invalid returns a FieldError.
func Invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// Parse reads a YAML document for Decode, Take and Registry.New.
func Parse(document []byte) (ast.Node, error) {
	f, err := parser.ParseBytes(document, 0)
	if err != nil {
		return nil, fromYAML(err)
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return nil, nil
	}
	return f.Docs[0].Body, nil
}

// Decode lays a mapping over the struct that config points to, which holds
// the defaults, and validates it. A nil node leaves the defaults. Keys that
// the struct does not know are errors, which name those of others too: keys that Take took before.
// Errors are *ConfigError.
func Decode(node ast.Node, config any, others ...string) error {
	if node != nil {
		if err := unknownKeys(node, reflect.TypeOf(config), others...); err != nil {
			return err
		}
		if err := yaml.NodeToValue(node, config, yaml.Strict()); err != nil {
			e := fromYAML(err)
			if e.Line == 0 {
				return errorAt(refused(node, reflect.TypeOf(config)), e.Message, "")
			}
			return e
		}
	}
	v, ok := config.(interface{ Validate() error })
	if !ok {
		return nil
	}
	return At(node, v.Validate())
}

// At gives an error of a configuration its place in the mapping that it came
// from: that of the key that a FieldError blames, or of the mapping. nil stays nil.
func At(node ast.Node, err error) error {
	if err == nil {
		return nil
	}
	var field *FieldError
	if errors.As(err, &field) {
		return errorAt(find(node, strings.Split(field.Field, ".")), err.Error(), "")
	}
	return errorAt(node, err.Error(), "")
}

// Take splits a mapping: the named keys, where present, and a mapping of the
// rest. It lets several packages share one mapping, each strict about its part.
func Take(node ast.Node, keys ...string) (taken map[string]ast.Node, rest ast.Node, err error) {
	taken = make(map[string]ast.Node)
	values := mapping(node)
	if values == nil {
		return nil, nil, errorAt(node, "a mapping of keys to values is expected here", "")
	}
	left := *values
	left.Values = nil
next:
	for _, v := range values.Values {
		for _, key := range keys {
			if keyName(v) == key {
				taken[key] = v.Value
				continue next
			}
		}
		left.Values = append(left.Values, v)
	}
	return taken, &left, nil
}

// mapping returns a node's mapping, or nil. The parser gives a mapping of a
// single key as a bare MappingValueNode.
func mapping(node ast.Node) *ast.MappingNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n
	case *ast.MappingValueNode:
		return ast.Mapping(n.GetToken(), false, n)
	case *ast.AnchorNode:
		return mapping(n.Value)
	case *ast.TagNode:
		return mapping(n.Value)
	}
	return nil
}

func keyName(v *ast.MappingValueNode) string {
	if s, ok := v.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return v.Key.String()
}

func scalar(node ast.Node, key string) (string, error) {
	var s string
	if err := yaml.NodeToValue(node, &s); err != nil || s == "" {
		return "", errorAt(node, key+": a name is expected here", "")
	}
	return s, nil
}

// find returns the node at a path of keys, or the deepest one on the way.
func find(node ast.Node, path []string) ast.Node {
	m := mapping(node)
	if m == nil || len(path) == 0 {
		return node
	}
	for _, v := range m.Values {
		if keyName(v) == path[0] {
			return find(v.Value, path[1:])
		}
	}
	return node
}

func errorAt(node ast.Node, message, suggestion string) *ConfigError {
	e := &ConfigError{Message: message, Suggestion: suggestion}
	if node == nil || reflect.ValueOf(node).IsNil() {
		return e
	}
	t := node.GetToken()
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

// fromYAML turns an error of the YAML library into ours, without its colours,
// source excerpt and types.
func fromYAML(err error) *ConfigError {
	var y yaml.Error
	if !errors.As(err, &y) {
		return &ConfigError{Message: ofDuration(err.Error())}
	}
	e := &ConfigError{Message: words(y)}
	if t := y.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}
