package grok

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/pipeline/component"
)

// expansion is an expression as text for the standard regexp.
type expansion struct {
	text string
	// names are the captures' names, each once, in order of appearance.
	names []string
	// groups holds, for names[i], the number of the group of its last
	// occurrence (FIDELITY 4: the last wins): the group is named group(n).
	groups []int
	refs   int
}

// groupPrefix begins the names of our groups in the expanded text.
const groupPrefix = "sluice_"

func group(n int) string { return groupPrefix + strconv.Itoa(n) }

// maxExpanded bounds the text: patterns that use each other double quickly.
const maxExpanded = 1 << 20

// expand replaces the references of an expression by what they stand for.
func (l *Library) expand(expr string) (*expansion, error) {
	x := &expansion{}
	text, err := l.expandInto(x, expr, nil, nil)
	if err != nil {
		return nil, err
	}
	x.text = text
	return x, nil
}

// expandInto expands one pattern. hidden are the capture names around it,
// path the patterns, to find cycles.
func (l *Library) expandInto(x *expansion, expr string, hidden, path []string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(expr, "%{")
		out.WriteString(before)
		if !found {
			break
		}
		ref, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%%{%s: the reference has no closing brace", rest)
		}
		expr = after
		name, capture, _ := strings.Cut(ref, ":")
		capture, _, _ = strings.Cut(capture, ":") // a third part is a type, which means nothing here
		text, err := l.reference(x, name, capture, hidden, path)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
		if out.Len() > maxExpanded {
			return "", errors.New("the patterns expand to more than 1 MiB")
		}
	}
	return out.String(), nil
}

func (l *Library) reference(x *expansion, name, capture string, hidden, path []string) (string, error) {
	d, ok := l.lookup(name)
	if !ok {
		err := fmt.Errorf("there is no grok pattern %%{%s}", name)
		if near := component.Nearest(name, l.names()); near != "" {
			err = fmt.Errorf("%w; did you mean %%{%s}?", err, near)
		}
		return "", err
	}
	if slices.Contains(path, name) {
		return "", fmt.Errorf("the grok pattern %%{%s} uses itself: %s", name, strings.Join(append(path, name), " > "))
	}
	captures := capture != "" && !slices.Contains(hidden, capture)
	open := "(?:"
	if captures {
		open = "(?P<" + group(x.capture(capture)) + ">"
		hidden = append(slices.Clip(hidden), capture)
	}
	inner, err := l.expandInto(x, d.pattern, hidden, append(slices.Clip(path), name))
	if err != nil {
		return "", err
	}
	return open + inner + ")", nil
}

// capture returns the number of a new group for a name.
func (x *expansion) capture(name string) int {
	n := x.refs
	x.refs++
	if i := slices.Index(x.names, name); i >= 0 {
		x.groups[i] = n
	} else {
		x.names = append(x.names, name)
		x.groups = append(x.groups, n)
	}
	return n
}

// compile returns the standard regexp and, for each name, its group's index.
func (x *expansion) compile() (*regexp.Regexp, []int, error) {
	re, err := regexp.Compile(x.text)
	if err != nil {
		return nil, nil, fmt.Errorf("not a regular expression: %w", err)
	}
	index := make([]int, len(x.names))
	for i, g := range x.groups {
		index[i] = re.SubexpIndex(group(g))
	}
	return re, index, nil
}
