package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on one file, far above any real rule. They keep a hostile file
// from costing more than a moment.
const (
	maxTokens = 50_000  // keys, values and marks; the YAML package's time grows faster than their number
	maxDepth  = 64      // mappings and lists inside one another
	maxValues = 200_000 // values read, those behind aliases counted each time
)

// readBounded reads a rule file of at most limit bytes.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &Error{Pos: Pos{File: file}, Message: "the file cannot be opened: " + cause(err)}
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &Error{Pos: Pos{File: file}, Message: "the file cannot be read: " + cause(err)}
	}
	if int64(len(src)) > limit {
		return nil, &Error{Pos: Pos{File: file}, Message: fmt.Sprintf("the file has more than %d bytes, too many for a rule file", limit)}
	}
	return src, nil
}

// cause leaves out the path that os errors repeat.
func cause(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// document is one YAML document of a file.
type document struct {
	body    ast.Node
	anchors map[string]ast.Node
}

// parseYAML splits a file into its documents, empty ones left out. It
// never panics: what the YAML package cannot cope with is an *Error.
func parseYAML(file string, src []byte) (docs []document, err error) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(src) {
		line := 1 + bytes.Count(src[:invalidAt(src)], []byte{'\n'})
		return nil, &Error{Pos: Pos{File: file, Line: line, Column: 1}, Message: "the file is not UTF-8 here", Source: newSource(file, src).excerpt(line)}
	}
	// The YAML package counts a carriage return as a character of the value.
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	defer func() {
		if r := recover(); r != nil {
			docs, err = nil, &Error{Pos: Pos{File: file}, Message: fmt.Sprintf("the file cannot be read as YAML: %v", r)}
		}
	}()
	tokens := lexer.Tokenize(string(src))
	if len(tokens) > maxTokens {
		return nil, tokenError(file, src, tokens[maxTokens], fmt.Sprintf("more than %d keys and values up to here, too many for a rule file", maxTokens))
	}
	if tk := tooDeep(tokens); tk != nil {
		return nil, tokenError(file, src, tk, fmt.Sprintf("more than %d mappings and lists inside one another", maxDepth))
	}
	f, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, syntaxError(file, src, err)
	}
	anchored := hasAnchor(tokens)
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.NullType || d.Body.Type() == ast.DirectiveType {
			continue
		}
		doc := document{body: d.Body}
		if anchored {
			doc.anchors = anchorsOf(d.Body)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func invalidAt(src []byte) int {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(src)
}

// tooDeep returns the token at which the nesting passes maxDepth, nil when
// it never does. The parser recurses, so this comes first. Block
// nesting is counted by columns: a deeper level stands further to the right,
// but for a list that stands right below its key, which counts as one with it.
func tooDeep(tokens token.Tokens) *token.Token {
	flow := 0
	var columns []int
	for _, tk := range tokens {
		column := 0
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			column = tk.Position.Column
		case token.MappingValueType:
			if tk.Prev != nil && tk.Prev.Position.Line == tk.Position.Line {
				column = tk.Prev.Position.Column
			}
		}
		if column > 0 && flow == 0 {
			for len(columns) > 0 && columns[len(columns)-1] > column {
				columns = columns[:len(columns)-1]
			}
			if len(columns) == 0 || columns[len(columns)-1] < column {
				columns = append(columns, column)
			}
		}
		if flow+len(columns) > maxDepth {
			return tk
		}
	}
	return nil
}

func hasAnchor(tokens token.Tokens) bool {
	for _, tk := range tokens {
		if tk.Type == token.AnchorType {
			return true
		}
	}
	return false
}

// anchorsOf maps the names of a document's anchors to their values.
func anchorsOf(body ast.Node) map[string]ast.Node {
	v := anchorVisitor{}
	ast.Walk(v, body)
	return v
}

type anchorVisitor map[string]ast.Node

// Visit implements ast.Visitor.
func (v anchorVisitor) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		v[a.Name.GetToken().Value] = a.Value
	}
	return v
}

// syntaxError turns the YAML package's error into ours.
func syntaxError(file string, src []byte, err error) *Error {
	var se *yaml.SyntaxError
	if errors.As(err, &se) {
		return tokenError(file, src, se.Token, "the YAML is broken here: "+se.Message)
	}
	return &Error{Pos: Pos{File: file}, Message: "the file cannot be read as YAML: " + err.Error()}
}

func tokenError(file string, src []byte, tk *token.Token, message string) *Error {
	e := &Error{Pos: Pos{File: file}, Message: message}
	if tk != nil && tk.Position != nil {
		e.Pos.Line, e.Pos.Column = tk.Position.Line, tk.Position.Column
		e.Source = newSource(file, src).excerpt(e.Pos.Line)
	}
	return e
}
