package overflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// contextField is one key of the alert context with the expressions that fill it.
type contextField struct {
	key      string
	programs []*expression.ViewProgram
}

// compileContexts compiles the entries of context files, keys sorted. An
// expression about a WAF's request (match, req) has nothing to say of a log
// line and is left out: Sluice runs no WAF.
func compileContexts(entries []rules.ContextEntry, c *expression.Compiler) ([]contextField, error) {
	byKey := make(map[string]*contextField)
	var fields []*contextField
	for _, e := range entries {
		f := byKey[e.Key]
		if f == nil {
			f = &contextField{key: e.Key}
			byKey[e.Key] = f
			fields = append(fields, f)
		}
		for _, x := range e.Expressions {
			if aboutRequest(x.Value) {
				continue
			}
			p, err := c.CompileView(x.Value, nil)
			if err != nil {
				return nil, placed(x, e.Key, err)
			}
			f.programs = append(f.programs, p)
		}
	}
	out := make([]contextField, 0, len(fields))
	for _, f := range fields {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b contextField) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	return out, nil
}

// placed tells where in the context file an expression is wrong.
func placed(x rules.Text, key string, err error) error {
	message := fmt.Sprintf("alert context %q: %v", key, err)
	var bad *expression.Error
	if errors.As(err, &bad) {
		return rules.NewError(x.At(bad.Line, bad.Column), "", fmt.Sprintf("alert context %q: %s", key, bad.Message), bad.Suggestion)
	}
	return rules.NewError(x.Pos, "", message, "")
}

type requestFinder struct{ found bool }

// Visit implements ast.Visitor.
func (f *requestFinder) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok && (id.Value == "match" || id.Value == "req") {
		f.found = true
	}
}

func aboutRequest(src string) bool {
	tree, err := parser.Parse(src)
	if err != nil {
		return false // the compiler will say what is wrong
	}
	f := &requestFinder{}
	ast.Walk(&tree.Node, f)
	return f.found
}

// contextOf fills the context from the events: every distinct value once, in
// order of first appearance, as a JSON list of at most maxLength bytes.
func (b *Builder) contextOf(queue []*pipeline.Kept) ([]pipeline.MetaItem, []error) {
	var items []pipeline.MetaItem
	var errs []error
	for _, f := range b.contexts {
		var values []string
		for _, k := range queue {
			env := map[string]any{"evt": k.View()}
			for _, p := range f.programs {
				out, err := p.Eval(env)
				if err != nil {
					errs = append(errs, fmt.Errorf("alert context %q: %w", f.key, err))
					continue
				}
				for _, v := range contextValues(out) {
					if v != "" && !slices.Contains(values, v) {
						values = append(values, v)
					}
				}
			}
		}
		if len(values) == 0 {
			continue
		}
		text, err := shorten(values, b.opts.ContextLength)
		if err != nil {
			errs = append(errs, fmt.Errorf("alert context %q: %w", f.key, err))
			continue
		}
		items = append(items, pipeline.MetaItem{Key: f.key, Value: text})
	}
	return items, errs
}

func contextValues(out any) []string {
	switch v := out.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []string:
		return v
	case int:
		return []string{strconv.Itoa(v)}
	case []int:
		values := make([]string, len(v))
		for i, n := range v {
			values[i] = strconv.Itoa(n)
		}
		return values
	}
	return []string{fmt.Sprint(out)}
}

// shorten renders values as a JSON list of at most limit bytes: it drops
// values from the end, then halves the last one left, which then ends in
// "...". A character is never cut in two.
func shorten(values []string, limit int) (string, error) {
	for {
		text, err := json.Marshal(values)
		if err != nil {
			return "", err
		}
		if len(text) <= limit {
			return string(text), nil
		}
		if len(values) == 1 {
			return shortenValue(values[0], limit)
		}
		values = values[:len(values)-1]
	}
}

func shortenValue(value string, limit int) (string, error) {
	for half := len(value) / 2; half > 0; half /= 2 {
		for half > 0 && !utf8.RuneStart(value[half]) {
			half--
		}
		text, err := json.Marshal([]string{value[:half] + "..."})
		if err != nil {
			return "", err
		}
		if half > 0 && len(text) <= limit {
			return string(text), nil
		}
	}
	return "", errors.New("context_value_len leaves no room for a value")
}
