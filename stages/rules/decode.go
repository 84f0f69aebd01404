package rules

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder reads one YAML document into a rule. It walks the tree once, by
// hand: the positions are at hand where values are, and the whole hub decodes
// in a fraction of the time that reflection takes. It collects faults
// instead of stopping at the first.
type decoder struct {
	src     *source
	rule    string // YAML name, once known
	errs    Errors
	anchors map[string]ast.Node
	values  int  // read so far
	depth   int  // of decoded mappings and lists
	spent   bool // a bound was passed: read nothing more
}

func newDecoder(src *source, doc document) *decoder {
	return &decoder{src: src, anchors: doc.anchors}
}

// maxFaults of one document are told.
const maxFaults = 20

// fail notes a fault at a place.
func (d *decoder) fail(pos Pos, format string, args ...any) *Error {
	e := &Error{Pos: pos, Message: fmt.Sprintf(format, args...), Source: d.src.excerpt(pos.Line)}
	switch {
	case len(d.errs) < maxFaults:
		d.errs = append(d.errs, e)
	case len(d.errs) == maxFaults:
		d.spent = true
		d.errs = append(d.errs, &Error{Pos: pos, Message: "there are more faults; the first are told"})
	}
	return e
}

// finish puts the rule's name into the faults and returns them by line.
func (d *decoder) finish() Errors {
	slices.SortStableFunc(d.errs, func(a, b *Error) int { return comparePos(a.Pos, b.Pos) })
	for _, e := range d.errs {
		e.Rule = d.rule
	}
	return d.errs
}

// pos is where a node's text begins.
func (d *decoder) pos(n ast.Node) Pos {
	p := Pos{File: d.src.file}
	if n == nil {
		return p
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key // a block mapping's own token is its first colon
	}
	if mv, ok := n.(*ast.MappingValueNode); ok {
		n = mv.Key
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		p.Line, p.Column = tk.Position.Line, tk.Position.Column
	}
	return p
}

// enter counts a level down; it must be paired with leave.
func (d *decoder) enter(n ast.Node) bool {
	d.depth++
	if d.depth > maxDepth && !d.spent {
		d.spent = true
		d.fail(d.pos(n), "more than %d mappings and lists inside one another", maxDepth)
	}
	return !d.spent
}

func (d *decoder) leave() { d.depth-- }

// resolve looks through anchors, aliases and tags. It returns nil for
// what cannot be resolved, the fault noted.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for hops := 0; !d.spent; hops++ {
		d.values++
		if d.values > maxValues || hops > maxDepth {
			d.spent = true
			d.fail(d.pos(n), "the file unfolds to more than %d values; it uses aliases of aliases", maxValues)
			return nil
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		case *ast.AliasNode:
			name := ""
			if v.Value != nil {
				name = v.Value.GetToken().Value
			}
			target, ok := d.anchors[name]
			if !ok {
				d.fail(d.pos(v), "alias *%s names no anchor of this document", name)
				return nil
			}
			n = target
		default:
			return n
		}
	}
	return nil
}

// pairs lists the keys and values of a mapping, those of merge keys (<<)
// behind its own. It notes a fault for anything but a mapping; null is an empty one.
func (d *decoder) pairs(n ast.Node, what string) []*ast.MappingValueNode {
	switch v := d.resolve(n).(type) {
	case *ast.MappingNode:
		for _, mv := range v.Values {
			if mv.Key.IsMergeKey() {
				return d.merged(v.Values, what)
			}
		}
		return v.Values
	case *ast.MappingValueNode:
		if v.Key.IsMergeKey() {
			return d.merged([]*ast.MappingValueNode{v}, what)
		}
		return []*ast.MappingValueNode{v}
	case nil, *ast.NullNode:
	default:
		d.fail(d.pos(n), "%s must be a mapping (key: value), not %s", what, kindOf(v))
	}
	return nil
}

// merged resolves merge keys: a mapping's own keys win over merged ones,
// earlier merged ones over later.
func (d *decoder) merged(values []*ast.MappingValueNode, what string) []*ast.MappingValueNode {
	if !d.enter(values[0]) {
		d.leave()
		return nil
	}
	defer d.leave()
	var out, sources []*ast.MappingValueNode
	seen := map[string]bool{}
	for _, mv := range values {
		if !mv.Key.IsMergeKey() {
			seen[keyText(mv)] = true
			out = append(out, mv)
			continue
		}
		if list, ok := d.resolve(mv.Value).(*ast.SequenceNode); ok {
			for _, n := range list.Values {
				sources = append(sources, d.pairs(n, what)...)
			}
			continue
		}
		sources = append(sources, d.pairs(mv.Value, what)...)
	}
	for _, mv := range sources {
		if k := keyText(mv); !seen[k] {
			seen[k] = true
			out = append(out, mv)
		}
	}
	return out
}

// fields calls f with each key of a mapping; a key outside known is a fault.
func (d *decoder) fields(n ast.Node, what string, known []string, f func(key string, value ast.Node)) {
	defer d.leave()
	if !d.enter(n) {
		return
	}
next:
	for _, mv := range d.pairs(n, what) {
		if d.spent {
			return
		}
		key := keyText(mv)
		for _, k := range known {
			if k == key {
				f(key, mv.Value)
				continue next
			}
		}
		e := d.fail(d.pos(mv.Key), "%s has no key %q", what, cut(key, 60))
		e.Suggestion = nearest(key, known)
	}
}

// keyText is the text of a mapping's key.
func keyText(mv *ast.MappingValueNode) string {
	switch k := mv.Key.(type) {
	case *ast.StringNode:
		return k.Value
	case *ast.MappingKeyNode:
		if k.Value != nil && k.Value.GetToken() != nil {
			return k.Value.GetToken().Value
		}
		return ""
	}
	if tk := mv.Key.GetToken(); tk != nil {
		return tk.Value
	}
	return ""
}

// list calls f with each value of a list; null is an empty one.
func (d *decoder) list(n ast.Node, what string, f func(ast.Node)) {
	defer d.leave()
	if !d.enter(n) {
		return
	}
	switch v := d.resolve(n).(type) {
	case *ast.SequenceNode:
		for _, one := range v.Values {
			f(one)
		}
	case nil, *ast.NullNode:
	default:
		d.fail(d.pos(n), "%s must be a list (lines that begin with \"- \"), not %s", what, kindOf(v))
	}
}

// text reads any scalar as text; numbers and booleans keep their spelling.
func (d *decoder) text(n ast.Node, what string) Text {
	t := Text{Pos: d.pos(n), Set: true}
	switch v := d.resolve(n).(type) {
	case *ast.StringNode:
		t.Value = v.Value
		t.Pos = d.stringPos(v)
	case *ast.LiteralNode:
		if v.Value != nil {
			t.Value = v.Value.Value
		}
		t.Pos = d.blockPos(v)
	case nil, *ast.NullNode:
	case ast.ScalarNode:
		t.Value = v.GetToken().Value
		t.Pos = d.pos(v)
	default:
		d.fail(d.pos(n), "%s must be text, not %s", what, kindOf(v))
	}
	return t
}

// stringPos is the first character of a plain or quoted value.
func (d *decoder) stringPos(v *ast.StringNode) Pos {
	p := d.pos(v)
	if v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType {
		p.Column++
		return p
	}
	// The YAML package places a plain value that blanks follow one too far.
	if i := p.Column - 2; i >= 0 && v.Value != "" {
		line := d.src.line(p.Line)
		if i+1 < len(line) && line[i] == v.Value[0] && (line[i+1] != v.Value[0] || bytes.HasPrefix(line[i:], []byte(v.Value))) {
			p.Column--
		}
	}
	return p
}

// blockPos is the first character of a block scalar's content.
func (d *decoder) blockPos(v *ast.LiteralNode) Pos {
	p := d.pos(v)
	p.Line++
	p.Column = 1
	for _, c := range d.src.line(p.Line) {
		if c != ' ' {
			break
		}
		p.Column++
	}
	return p
}

func (d *decoder) str(n ast.Node, what string) string { return d.text(n, what).Value }

func (d *decoder) texts(n ast.Node, what string) []Text {
	var out []Text
	d.list(n, what, func(one ast.Node) { out = append(out, d.text(one, "an entry of "+what)) })
	return out
}

func (d *decoder) strs(n ast.Node, what string) []string {
	var out []string
	d.list(n, what, func(one ast.Node) { out = append(out, d.str(one, "an entry of "+what)) })
	return out
}

func (d *decoder) boolean(n ast.Node, what string) bool {
	t := d.text(n, what)
	b, ok := yamlBool(t.Value)
	if !ok && t.Value != "" {
		d.fail(t.Pos, "%s must be true or false, not %q", what, cut(t.Value, 60))
	}
	return b
}

// yamlBool knows the spellings of YAML 1.1, in which CrowdSec reads rules.
func yamlBool(s string) (value, ok bool) {
	switch s {
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

func (d *decoder) integer(n ast.Node, what string) int {
	t := d.text(n, what)
	if t.Value == "" {
		return 0
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(t.Value, "_", ""), 0, 64)
	if err != nil || int64(int32(i)) != i {
		d.fail(t.Pos, "%s must be a whole number, not %q", what, cut(t.Value, 60))
		return 0
	}
	return int(i)
}

func (d *decoder) float(n ast.Node, what string) float32 {
	t := d.text(n, what)
	f, err := strconv.ParseFloat(t.Value, 32)
	if err != nil {
		d.fail(t.Pos, "%s must be a number, not %q", what, cut(t.Value, 60))
		return 0
	}
	return float32(f)
}

// duration reads Go's notation, which is CrowdSec's: 10s, 1m30s, 0.5s, 4h.
// Days and weeks are no units of it.
func (d *decoder) duration(n ast.Node, what string) time.Duration {
	t := d.text(n, what)
	if t.Value == "" {
		return 0
	}
	v, err := time.ParseDuration(t.Value)
	if err != nil {
		d.fail(t.Pos, "%s must be a duration such as 30s, 5m or 4h, not %q", what, cut(t.Value, 60)).Suggestion = durationMeant(t.Value)
		return 0
	}
	if v < 0 {
		d.fail(t.Pos, "%s must not be negative, and is %q", what, cut(t.Value, 60))
	}
	return v
}

// durationMeant guesses what a broken duration means: days, or a number
// without a unit.
func durationMeant(s string) string {
	if days, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && strings.HasSuffix(s, "d") {
		return strconv.Itoa(24*days) + "h"
	}
	if _, err := strconv.Atoi(s); err == nil {
		return s + "s"
	}
	return ""
}

// value reads anything as the Go value that a template or JSON expects:
// string, int, float64, bool, nil, []any or map[string]any.
func (d *decoder) value(n ast.Node) any {
	defer d.leave()
	if !d.enter(n) {
		return nil
	}
	switch v := d.resolve(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		m := map[string]any{}
		for _, mv := range d.pairs(v, "a mapping") {
			m[keyText(mv)] = d.value(mv.Value)
		}
		return m
	case *ast.SequenceNode:
		list := make([]any, 0, len(v.Values))
		for _, one := range v.Values {
			list = append(list, d.value(one))
		}
		return list
	case *ast.IntegerNode:
		switch i := v.Value.(type) {
		case int64:
			return int(i)
		case uint64:
			if i <= math.MaxInt {
				return int(i)
			}
			return i
		}
		return v.Token.Value
	case *ast.FloatNode:
		return v.Value
	case *ast.BoolNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.StringNode:
		if v.Token.Type == token.StringType {
			if b, ok := yamlBool(v.Value); ok {
				return b
			}
		}
		return v.Value
	case nil, *ast.NullNode:
		return nil
	case ast.ScalarNode:
		return v.GetToken().Value
	}
	return nil
}

// kindOf says in words what a node is.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "a boolean"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	}
	return "text"
}
