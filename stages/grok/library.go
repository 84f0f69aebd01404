package grok

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Library is a set of named patterns. A child made by Scope sees its
// parent's names. It is not for concurrent use while it is added to.
type Library struct {
	parent *Library
	named  map[string]definition
}

type definition struct {
	pattern string
	place   string // where it is defined, for errors
}

//go:embed base.txt
var baseText []byte

// NewLibrary returns the base library: our own writing of the usual names.
func NewLibrary() *Library {
	l := newEmpty()
	for name, p := range addressPatterns() {
		l.named[name] = definition{p, "base library"}
	}
	if err := l.read(baseText, "base library"); err != nil {
		// The text is part of the program and a test reads it.
		panic(err)
	}
	return l
}

func newEmpty() *Library { return &Library{named: make(map[string]definition)} }

// LoadDir adds every pattern file of a folder, in order of name. A line is a
// name, a space and a pattern; empty lines and those that begin with # are
// skipped. A name defined before keeps its first definition.
func (l *Library) LoadDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the folder of grok patterns: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading grok patterns: %w", err)
		}
		if err := l.read(data, path); err != nil {
			return err
		}
	}
	return nil
}

func (l *Library) read(data []byte, place string) error {
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, pattern, ok := strings.Cut(line, " ")
		if pattern = strings.TrimSpace(pattern); !ok || pattern == "" {
			return fmt.Errorf("%s:%d: %q is no pattern; want a name, a space and a pattern", place, n, line)
		}
		if _, known := l.named[name]; !known {
			l.named[name] = definition{pattern, fmt.Sprintf("%s:%d", place, n)}
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	return nil
}

// Add defines a name. It is an error when the library itself, parents
// aside, has another pattern of that name.
func (l *Library) Add(name, pattern string) error {
	if d, ok := l.named[name]; ok && d.pattern != pattern {
		return fmt.Errorf("the grok pattern %s is defined twice: at %s too", name, d.place)
	}
	l.named[name] = definition{pattern, "pattern_syntax"}
	return nil
}

// Scope returns a child library for one rule file's pattern_syntax. A name
// that the parent defines keeps the parent's definition (FIDELITY 5).
func (l *Library) Scope() *Library {
	s := newEmpty()
	s.parent = l
	return s
}

// Has tells whether a name is defined.
func (l *Library) Has(name string) bool {
	_, ok := l.lookup(name)
	return ok
}

// lookup asks the outermost library first.
func (l *Library) lookup(name string) (definition, bool) {
	if l.parent != nil {
		if d, ok := l.parent.lookup(name); ok {
			return d, true
		}
	}
	d, ok := l.named[name]
	return d, ok
}

// names lists all names that the library sees, for suggestions.
func (l *Library) names() []string {
	var out []string
	for ; l != nil; l = l.parent {
		for n := range l.named {
			out = append(out, n)
		}
	}
	return out
}
