package grok

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Library is a set of named patterns. A child made by Scope sees its
// parent's names. Compile may be called from several goroutines at once, but
// not while names are being added.
type Library struct {
	parent      *Library
	definitions map[string]definition
	// checked remembers, by name, that a definition stands on its own as a
	// regular expression, or why it does not.
	checked sync.Map
}

// definition is a pattern's text and, for error messages, where it was read.
type definition struct {
	pattern string
	origin  string // "file:line", "" for names added by code
}

// NewLibrary returns the base library: our own writing of the usual names.
func NewLibrary() *Library {
	library := newEmptyLibrary()
	for _, d := range basePatterns() {
		library.definitions[d[0]] = definition{pattern: d[1], origin: "the base library"}
	}
	return library
}

// newEmptyLibrary returns a library without a name.
func newEmptyLibrary() *Library {
	return &Library{definitions: make(map[string]definition)}
}

// LoadDir adds every pattern file of a folder, in the order of their names:
// lines "NAME pattern", empty ones and those that begin with # are skipped.
// A name that was defined before, in the base library or in another file,
// keeps its first definition; twice in one file is an error.
// Files whose name begins with a dot, and folders, are left out.
func (l *Library) LoadDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("the patterns folder cannot be read: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if err := l.loadFile(filepath.Join(dir, entry.Name())); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// patternLine is a line of a pattern file: a name, space, and the pattern, which keeps its trailing space.
var patternLine = regexp.MustCompile(`^(\w+)[ \t]+(.+)$`)

// loadFile adds the names of one pattern file. All its faulty lines are reported at once.
func (l *Library) loadFile(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the pattern file cannot be read: %w", err)
	}
	var problems []error
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, len(content)+1)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		origin := fmt.Sprintf("%s:%d", path, number)
		parts := patternLine.FindStringSubmatch(line)
		if parts == nil {
			problems = append(problems, fmt.Errorf("%s: %q is not a pattern line: expected NAME, a space, and the pattern", origin, excerpt(line)))
			continue
		}
		if previous, ok := l.definitions[parts[1]]; ok && !strings.HasPrefix(previous.origin, path+":") {
			continue
		}
		if err := l.add(parts[1], parts[2], origin); err != nil {
			problems = append(problems, err)
		}
	}
	if err := lines.Err(); err != nil {
		problems = append(problems, fmt.Errorf("%s: %w", path, err))
	}
	return errors.Join(problems...)
}

// Add defines a name, replacing none that is there: another pattern of that
// name is an error, the same one again is not. In a child a
// name of its parent stays the parent's, without an error (FIDELITY 5). What
// the pattern says is checked when it is first used by Compile.
func (l *Library) Add(name, pattern string) error { return l.add(name, pattern, "") }

func (l *Library) add(name, pattern, origin string) error {
	at := ""
	if origin != "" {
		at = origin + ": "
	}
	switch {
	case !isWord(name):
		return fmt.Errorf("%s%q cannot name a pattern: a name is made of letters, digits and underscores", at, excerpt(name))
	case pattern == "":
		return fmt.Errorf("%spattern %s is empty", at, name)
	}
	if previous, ok := l.definitions[name]; ok {
		if previous.pattern == pattern {
			return nil
		}
		if previous.origin == "" {
			return fmt.Errorf("%spattern %s is already defined", at, name)
		}
		return fmt.Errorf("%spattern %s is already defined in %s", at, name, previous.origin)
	}
	if l.parent != nil && l.parent.Has(name) {
		return nil
	}
	l.definitions[name] = definition{pattern: pattern, origin: origin}
	return nil
}

// Scope returns a child library for one rule file's pattern_syntax. Its
// names cannot redefine the parent's: the parent's definition stands (FIDELITY 5).
func (l *Library) Scope() *Library {
	child := newEmptyLibrary()
	child.parent = l
	return child
}

// Has tells whether a name is defined.
func (l *Library) Has(name string) bool {
	_, ok := l.lookup(name)
	return ok
}

// lookup finds a name here or in the parents, which go first (FIDELITY 5).
func (l *Library) lookup(name string) (definition, bool) {
	if l.parent != nil {
		if d, ok := l.parent.lookup(name); ok {
			return d, true
		}
	}
	d, ok := l.definitions[name]
	return d, ok
}

// names lists all names that the library sees, for suggestions.
func (l *Library) names() []string {
	var out []string
	for ; l != nil; l = l.parent {
		for name := range l.definitions {
			out = append(out, name)
		}
	}
	return out
}

// isWord tells whether a string is a pattern's or a capture's name.
func isWord(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isWordByte tells whether \b takes a byte for part of a word.
func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// excerpt cuts a text that would swamp an error message.
func excerpt(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
