package funcs

import (
	"strconv"
	"strings"
)

// xmlStep selects among the children of an element.
type xmlStep struct {
	name    string
	filters []xmlFilter
}

// xmlFilter keeps the element at a position, from 1, of those that the filters
// before it kept; or, with position 0, those that have an attribute of that value.
type xmlFilter struct {
	position    int
	attr, value string
}

// Bounds of a plain path.
const (
	maxXMLSteps   = 32
	maxXMLFilters = 4
)

// plainXMLPath reads an absolute path of names, with filters [n] and
// [@name='value'], such as /Event/EventData[1]/Data[@Name='Image']. nil is for
// all others, which etree reads.
func plainXMLPath(path string) []xmlStep {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	var steps []xmlStep
	for {
		var step xmlStep
		if step.name, rest = cutXMLName(rest); step.name == "" {
			return nil
		}
		for strings.HasPrefix(rest, "[") {
			var f xmlFilter
			if f, rest, ok = cutXMLFilter(rest[1:]); !ok {
				return nil
			}
			step.filters = append(step.filters, f)
		}
		steps = append(steps, step)
		if len(steps) > maxXMLSteps || len(step.filters) > maxXMLFilters {
			return nil
		}
		if rest == "" {
			return steps
		}
		if rest, ok = strings.CutPrefix(rest, "/"); !ok {
			return nil
		}
	}
}

// cutXMLName cuts a name without a prefix off the front.
func cutXMLName(s string) (name, rest string) {
	full, _, next := xmlName(s, 0)
	if next < 0 || strings.Contains(full.in(s), ":") {
		return "", s
	}
	return s[:next], s[next:]
}

func cutXMLFilter(s string) (f xmlFilter, rest string, ok bool) {
	if attr, found := strings.CutPrefix(s, "@"); found {
		if f.attr, attr = cutXMLName(attr); f.attr == "" || len(attr) < 2 || attr[0] != '=' {
			return f, s, false
		}
		quote := attr[1:2]
		if quote != "'" && quote != `"` {
			return f, s, false
		}
		f.value, attr, found = strings.Cut(attr[2:], quote)
		if !found || strings.ContainsAny(f.value, "[]/'\"") {
			return f, s, false
		}
		rest, ok = strings.CutPrefix(attr, "]")
		return f, rest, ok
	}
	digits, rest, found := strings.Cut(s, "]")
	if !found || strings.Trim(digits, "0123456789") != "" || len(digits) > 6 {
		return f, s, false
	}
	n, err := strconv.Atoi(digits)
	f.position = n
	return f, rest, err == nil && n > 0
}

// find returns the first node on a path below node, 0 when there is none.
func (t *xmlTree) find(text string, steps []xmlStep, node int32) int32 {
	step := &steps[0]
	var kept [maxXMLFilters]int
children:
	for c := t.nodes[node].child; c != 0; c = t.nodes[c].next {
		if t.nodes[c].name.in(text) != step.name {
			continue
		}
		for i := range step.filters {
			f := &step.filters[i]
			if f.position == 0 {
				if !t.hasAttribute(text, c, f) {
					continue children
				}
			} else if kept[i]++; kept[i] != f.position {
				continue children
			}
		}
		if len(steps) == 1 {
			return c
		}
		if found := t.find(text, steps[1:], c); found != 0 {
			return found
		}
	}
	return 0
}

// hasAttribute looks at all attributes of the name: they may differ in their prefix.
func (t *xmlTree) hasAttribute(text string, node int32, f *xmlFilter) bool {
	for i := t.nodes[node].attrs[0]; i < t.nodes[node].attrs[1]; i++ {
		a := &t.attrs[i]
		if a.name.in(text) != f.attr {
			continue
		}
		if v := a.value; v.in(text) == f.value && !v.escaped || v.escaped && v.decode(text) == f.value {
			return true
		}
	}
	return false
}
