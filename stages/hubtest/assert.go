package hubtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/stages/expression/funcs"
)

// Failure is an assertion that does not hold.
type Failure struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Expression string `json:"expression"`
	Expected   string `json:"expected,omitempty"`
	Actual     string `json:"actual,omitempty"`
	Error      string `json:"error,omitempty"`
}

// String renders the failure in a line.
func (f Failure) String() string {
	s := fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Expression)
	if f.Error != "" {
		return s + ": " + f.Error
	}
	if f.Expected != "" || f.Actual != "" {
		return fmt.Sprintf("%s: expected %s, actual %s", s, f.Expected, f.Actual)
	}
	return s + ": does not hold"
}

// asserter evaluates the lines of an assertion file over results.
type asserter struct {
	env     map[string]any
	options []expr.Option
}

func newAsserter(results any, data *funcs.Data) *asserter {
	a := &asserter{env: map[string]any{"results": results}}
	a.options = []expr.Option{expr.Env(a.env)}
	for _, table := range [][]funcs.Function{funcs.Table(data), funcs.TestTable()} {
		for _, f := range table {
			a.options = append(a.options, expr.Function(f.Name, f.Call, f.Types...))
		}
	}
	return a
}

// variable is how CrowdSec finds what to show of an assertion that does not hold.
var variable = regexp.MustCompile(`[^ =]+ == .*`)

// counts tells whether CrowdSec takes notice when a line of scenario.assert
// does not hold. It passes over those in which it finds no variable to show:
// everything but comparisons with ==, such as "x" in GetSources().
func (f *Failure) counts() bool { return variable.MatchString(f.Expression) }

// file runs every line of a file; a missing file holds nothing.
func (a *asserter) file(path string) (count int, failures []Failure, err error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading assertions: %w", err)
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, len(data)+1)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" {
			continue
		}
		count++
		if f := a.check(text); f != nil {
			f.File, f.Line, f.Expression = path, line, text
			failures = append(failures, *f)
		}
	}
	return count, failures, sc.Err()
}

// check returns nil when the assertion holds.
func (a *asserter) check(text string) *Failure {
	src := withBasename(text)
	out, err := a.eval(src)
	if err != nil {
		return &Failure{Error: err.Error()}
	}
	if out == true {
		return nil
	}
	f := &Failure{}
	if tree, err := parser.Parse(src); err == nil {
		if eq, ok := tree.Node.(*ast.BinaryNode); ok && eq.Operator == "==" {
			f.Expected, f.Actual = a.show(eq.Right), a.show(eq.Left)
		}
	}
	return f
}

func (a *asserter) show(n ast.Node) string {
	out, err := a.eval(n.String())
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%#v", out)
}

func (a *asserter) eval(src string) (any, error) {
	prog, err := expr.Compile(src, a.options...)
	if err != nil {
		return nil, firstLine(err)
	}
	out, err := expr.Run(prog, a.env)
	if err != nil {
		return nil, firstLine(err)
	}
	return out, nil
}

func firstLine(err error) error {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%s", s)
}

// withBasename reads an assertion about a path as one about its last element
// (FIDELITY 31): tests were recorded in other folders.
func withBasename(text string) string {
	if !strings.Contains(text, "datasource_path") || strings.Contains(text, "basename(") {
		return text
	}
	left, right, ok := strings.Cut(text, " == ")
	if !ok {
		return text
	}
	return "basename(" + left + ") == " + right
}
