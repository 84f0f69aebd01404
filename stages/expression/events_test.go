package expression

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// eventMaker makes events that an expression might be true of: its fields
// hold the literals that it compares them with, changed a little at times.
type eventMaker struct {
	schema   *pipeline.Schema
	fields   []pipeline.Field
	paths    [][]string
	own      map[string][]string // by field or path: the literals near it
	literals []string
	extra    []string // used often, by the fuzz target
}

func newEventMaker(root ast.Node, schema *pipeline.Schema, data *funcs.Data) *eventMaker {
	m := &eventMaker{schema: schema, own: make(map[string][]string), literals: []string{"", "192.0.2.7", "2001:db8::1", "10", "text"}}
	m.walk(root, data)
	return m
}

// walk collects fields and literals; near collects the literals of a comparison for its fields.
func (m *eventMaker) walk(n ast.Node, data *funcs.Data) (fields, near []string) {
	if f, ok := fieldOf(n); ok {
		if !slices.Contains(m.fields, f) {
			m.fields = append(m.fields, f)
		}
		return []string{f.String()}, nil
	}
	if steps := unmarshaledPath(n, nil); len(steps) > 0 {
		var keys []string
		for _, s := range steps {
			keys = append(keys, s.key)
		}
		m.paths = append(m.paths, keys)
		return []string{strings.Join(keys, "\x00")}, nil
	}
	if s, ok := n.(*ast.StringNode); ok {
		m.literals = append(m.literals, s.Value)
		if lines, ok := data.Lines(s.Value); ok {
			near = append(near, lines...)
		}
		near = append(near, s.Value)
	}
	for _, child := range children(n) {
		f, l := m.walk(*child, data)
		fields, near = append(fields, f...), append(near, l...)
	}
	b, isOperation := n.(*ast.BinaryNode)
	_, isLoop := n.(*ast.BuiltinNode)
	if isLoop || isOperation && !slices.Contains([]string{"&&", "and", "||", "or"}, b.Operator) {
		for _, f := range fields {
			m.own[f] = append(m.own[f], near...)
		}
	}
	return fields, near
}

func (m *eventMaker) value(r *rand.Rand, name string) string {
	list := m.own[name]
	if len(list) == 0 || r.IntN(4) == 0 {
		list = m.literals
	}
	if len(m.extra) > 0 && r.IntN(2) == 0 {
		list = m.extra
	}
	s := list[r.IntN(len(list))]
	switch r.IntN(14) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.ToLower(s)
	case 2:
		return "x" + s
	case 3:
		return s + "é"
	case 4:
		return s + "/" + list[r.IntN(len(list))]
	case 5:
		return "prefix " + s + " suffix"
	case 6:
		if len(s) > 0 {
			return s[:r.IntN(len(s))] + "\xff"
		}
	}
	return s
}

func (m *eventMaker) event(r *rand.Rand) *pipeline.Event {
	ev := pipeline.NewEvent(m.schema)
	ev.Time = time.Date(2026, 3, 7, r.IntN(24), 0, 0, 0, time.UTC)
	ev.Received = ev.Time
	ev.Whitelisted = r.IntN(5) == 0
	if r.IntN(12) == 0 {
		ev.Type = pipeline.OverflowEvent
		ev.Overflow = &pipeline.RuntimeAlert{Whitelisted: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			ev.Overflow.Alert = &pipeline.Alert{Remediation: true, Scenario: m.value(r, ""), Source: &pipeline.Source{Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7"}}
		}
	}
	if r.IntN(4) == 0 {
		ev.SetField(pipeline.Meta, "unknown to the rules", "v")
	}
	for _, f := range m.fields {
		if r.IntN(8) > 0 {
			ev.SetField(f.Space, f.Name, m.value(r, f.String()))
		}
	}
	if r.IntN(8) > 0 {
		ev.Unmarshaled = make(map[string]any)
	}
	for _, keys := range m.paths {
		if ev.Unmarshaled != nil && r.IntN(8) > 0 {
			put(ev.Unmarshaled, keys, m.leaf(r, strings.Join(keys, "\x00")))
		}
	}
	if raw, err := json.Marshal(ev.Unmarshaled); err == nil && r.IntN(2) == 0 {
		ev.Set(pipeline.SlotLineRaw, string(raw))
	}
	return ev
}

func (m *eventMaker) leaf(r *rand.Rand, name string) any {
	switch r.IntN(16) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return float64(r.IntN(600))
	case 3:
		return r.IntN(600)
	case 4:
		return []any{m.value(r, name), 1.0, nil}
	case 5:
		return map[string]any{"k": m.value(r, name)}
	case 6:
		return map[string]string{"k": m.value(r, name)}
	case 7:
		return map[string]any(nil)
	}
	return m.value(r, name)
}

// put writes a value below a map, making maps on the way where nothing else stands.
func put(m map[string]any, keys []string, v any) {
	for _, k := range keys[:len(keys)-1] {
		next, ok := m[k].(map[string]any)
		if !ok || next == nil {
			if m[k] != nil {
				return
			}
			next = make(map[string]any)
			m[k] = next
		}
		m = next
	}
	m[keys[len(keys)-1]] = v
}
