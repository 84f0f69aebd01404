package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// module is the path that the packages of this program begin with.
const module = "sluice/"

// Comments reads the doc comments of struct fields in the program's source.
// One goroutine uses it.
type Comments struct {
	root  string
	files map[string]map[string]*ast.StructType // by package path and type name
}

// NewComments reads the source under a folder, that of go.mod.
func NewComments(root string) *Comments {
	return &Comments{root: root, files: make(map[string]map[string]*ast.StructType)}
}

// Fields returns the text of each field's comment, by the field's Go name. A
// field that has none is not in it.
func (c *Comments) Fields(t reflect.Type) (map[string]string, error) {
	structs, err := c.packageOf(t)
	if err != nil {
		return nil, err
	}
	s, ok := structs[t.Name()]
	if !ok {
		return nil, fmt.Errorf("the source of %s has no struct %s: give the configuration a named type", t.PkgPath(), t)
	}
	out := make(map[string]string)
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		if text == "" {
			continue
		}
		for _, name := range f.Names {
			out[name.Name] = strings.TrimSpace(text)
		}
	}
	return out, nil
}

func (c *Comments) packageOf(t reflect.Type) (map[string]*ast.StructType, error) {
	path := t.PkgPath()
	if structs, ok := c.files[path]; ok {
		return structs, nil
	}
	if !strings.HasPrefix(path, module) {
		return nil, fmt.Errorf("%s is not of this program, so its keys cannot be described; give the configuration a struct of its own", t)
	}
	dir := filepath.Join(c.root, filepath.FromSlash(strings.TrimPrefix(path, module)))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the comments of %s: %w", path, err)
	}
	structs := make(map[string]*ast.StructType)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("reading the comments of %s: %w", path, err)
		}
		for _, d := range f.Decls {
			collect(d, structs)
		}
	}
	c.files[path] = structs
	return structs, nil
}

func collect(d ast.Decl, structs map[string]*ast.StructType) {
	g, ok := d.(*ast.GenDecl)
	if !ok {
		return
	}
	for _, spec := range g.Specs {
		if t, ok := spec.(*ast.TypeSpec); ok {
			if s, ok := t.Type.(*ast.StructType); ok {
				structs[t.Name.Name] = s
			}
		}
	}
}
