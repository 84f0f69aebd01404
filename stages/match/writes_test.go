package match

import (
	"testing"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
)

func TestWhatAnExpressionWrites(t *testing.T) {
	for _, tc := range []struct {
		src     string
		unclear bool
		fields  int
	}{
		{`evt.SetMeta('a', 'b') and evt.SetParsed("c", evt.Meta.d)`, false, 2},
		{`any(File('f'), {evt.Meta.x contains # ? evt.SetMeta('a', #) : false})`, false, 1},
		{`UnmarshalJSON(evt.Meta.x, evt.Unmarshaled, 'j') == nil`, false, 0},
		{`evt.SetMeta(evt.Meta.name, 'b')`, true, 0},
		{`evt.SetSomething('a')`, true, 0},
		{`ParseKV(evt.Line.Raw, evt.Parsed, 'x') == nil`, true, 0},
		{`f(evt)`, true, 0},
		{`f(evt["Me" + "ta"])`, true, 0},
	} {
		tree, err := parser.Parse(tc.src)
		if err != nil {
			t.Fatal(err)
		}
		var f writeFinder
		ast.Walk(&tree.Node, &f)
		if f.unclear() != tc.unclear || !tc.unclear && len(f.fields) != tc.fields {
			t.Errorf("%s: unclear %v, fields %v", tc.src, f.unclear(), f.fields)
		}
	}
}
