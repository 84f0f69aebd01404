package funcs

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// xmlTree is the shape of an ordinary document: places in its text, no text
// of its own. It is used again for the next document.
type xmlTree struct {
	nodes []xmlNode // 0 is the document itself
	attrs []xmlAttr
	open  []xmlOpen
}

type xmlNode struct {
	name      xmlSpan // without prefix
	text      xmlSpan // what stands before the first child
	attrs     [2]int32
	child     int32 // the first, 0 for none
	next      int32 // the next sibling, 0 for none
	lastChild int32
}

type xmlAttr struct {
	full  xmlSpan // the name with its prefix
	name  xmlSpan // without
	value xmlSpan
}

// xmlOpen is an element whose end was not read yet.
type xmlOpen struct {
	node int32
	full xmlSpan
}

// xmlSpan is a part of the text.
type xmlSpan struct {
	from, to int32
	escaped  bool // it holds entities
}

func (s xmlSpan) in(text string) string { return text[s.from:s.to] }

// decode returns the part with its entities read; parse has seen that they can be.
func (s xmlSpan) decode(text string) string {
	part := s.in(text)
	if !s.escaped {
		return part
	}
	var out strings.Builder
	out.Grow(len(part))
	for i := 0; i < len(part); {
		if part[i] != '&' {
			out.WriteByte(part[i])
			i++
			continue
		}
		r, size := xmlEntity(part[i:])
		out.WriteRune(r)
		i += size
	}
	return out.String()
}

// xmlEntity reads the entity at the start of s; size is 0 for what only a full
// parser may judge.
func xmlEntity(s string) (r rune, size int) {
	end := strings.IndexByte(s[:min(len(s), 12)], ';')
	if end < 2 {
		return 0, 0
	}
	switch name := s[1:end]; name {
	case "lt":
		r = '<'
	case "gt":
		r = '>'
	case "amp":
		r = '&'
	case "quot":
		r = '"'
	case "apos":
		r = '\''
	default:
		base, digits := 10, name[1:]
		if strings.HasPrefix(name, "#x") {
			base, digits = 16, name[2:]
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if name[0] != '#' || err != nil || n > 0xD7FF || n < 0x20 && n != '\t' && n != '\n' && n != '\r' {
			return 0, 0
		}
		r = rune(n)
	}
	return r, end + 1
}

// parse reads an ordinary document: one root; elements, attributes, text and
// entities; no declaration, comment, CDATA, DTD, carriage return or control
// character. It is false for any other, also for malformed ones: etree says
// what those hold.
func (t *xmlTree) parse(text string) bool {
	if len(text) > maxXML || !plainXMLBytes(text) {
		return false
	}
	t.nodes = append(t.nodes[:0], xmlNode{})
	t.attrs, t.open = t.attrs[:0], append(t.open[:0], xmlOpen{})
	for i := 0; i < len(text); {
		if text[i] != '<' {
			i = t.characters(text, i)
		} else if i+1 < len(text) && text[i+1] == '/' {
			i = t.end(text, i+2)
		} else {
			i = t.start(text, i+1)
		}
		if i < 0 {
			return false
		}
	}
	root := t.nodes[0].child
	return len(t.open) == 1 && root != 0 && t.nodes[root].next == 0
}

func plainXMLBytes(text string) bool {
	ascii := true
	for i := range len(text) {
		c := text[i]
		if c < 0x20 && c != '\t' && c != '\n' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	// U+FFFE and U+FFFF are no XML characters.
	return ascii || utf8.ValidString(text) && !strings.Contains(text, "\xef\xbf\xbe") && !strings.Contains(text, "\xef\xbf\xbf")
}

// characters reads text up to the next tag and returns where that begins, -1 for what is not ordinary.
func (t *xmlTree) characters(text string, i int) int {
	span, next := xmlText(text, i, '<')
	if next < 0 || strings.Contains(span.in(text), "]]>") {
		return -1
	}
	top := t.open[len(t.open)-1].node
	if top == 0 {
		if strings.Trim(span.in(text), " \t\n") != "" {
			return -1
		}
	} else if t.nodes[top].child == 0 {
		t.nodes[top].text = span
	}
	return next
}

// xmlText reads up to a byte, or to the end, and checks the entities.
func xmlText(text string, i int, stop byte) (span xmlSpan, next int) {
	span.from = int32(i)
	for i < len(text) && text[i] != stop {
		if text[i] == '&' {
			_, size := xmlEntity(text[i:])
			if size == 0 {
				return span, -1
			}
			span.escaped = true
			i += size
			continue
		}
		i++
	}
	span.to = int32(i)
	return span, i
}

// end reads an end tag behind its </.
func (t *xmlTree) end(text string, i int) int {
	full, _, next := xmlName(text, i)
	if next < 0 || next >= len(text) || text[next] != '>' || len(t.open) == 1 {
		return -1
	}
	if full.in(text) != t.open[len(t.open)-1].full.in(text) {
		return -1
	}
	t.open = t.open[:len(t.open)-1]
	return next + 1
}

// start reads a start tag behind its <.
func (t *xmlTree) start(text string, i int) int {
	full, name, i := xmlName(text, i)
	if i < 0 {
		return -1
	}
	node := int32(len(t.nodes))
	first := int32(len(t.attrs))
	for i < len(text) && isXMLSpace(text[i]) {
		for i < len(text) && isXMLSpace(text[i]) {
			i++
		}
		if i < len(text) && text[i] != '>' && text[i] != '/' {
			if i = t.attr(text, i, first); i < 0 {
				return -1
			}
		}
	}
	t.nodes = append(t.nodes, xmlNode{name: name, attrs: [2]int32{first, int32(len(t.attrs))}})
	t.adopt(t.open[len(t.open)-1].node, node)
	if i < len(text) && text[i] == '>' {
		t.open = append(t.open, xmlOpen{node, full})
		return i + 1
	}
	if strings.HasPrefix(text[i:], "/>") {
		return i + 2
	}
	return -1
}

func (t *xmlTree) adopt(parent, node int32) {
	p := &t.nodes[parent]
	if p.child == 0 {
		p.child = node
	} else {
		t.nodes[p.lastChild].next = node
	}
	p.lastChild = node
}

// attr reads name="value"; an attribute given twice is not ordinary.
func (t *xmlTree) attr(text string, i int, first int32) int {
	full, name, i := xmlName(text, i)
	if i < 0 || i+1 >= len(text) || text[i] != '=' || text[i+1] != '"' && text[i+1] != '\'' {
		return -1
	}
	value, next := xmlText(text, i+2, text[i+1])
	if next < 0 || next >= len(text) || strings.Contains(value.in(text), "<") || len(t.attrs)-int(first) >= 64 {
		return -1
	}
	for _, a := range t.attrs[first:] {
		if a.full.in(text) == full.in(text) {
			return -1
		}
	}
	t.attrs = append(t.attrs, xmlAttr{full, name, value})
	return next + 1
}

// xmlName reads a name of ASCII with at most one colon inside. next is -1 for any other.
func xmlName(text string, i int) (full, name xmlSpan, next int) {
	from, colon := i, -1
	for ; i < len(text); i++ {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if c == ':' && colon < 0 && i > from {
			colon = i
			continue
		}
		atStart := i == from || colon == i-1
		if letter || !atStart && (c >= '0' && c <= '9' || c == '-' || c == '.') {
			continue
		}
		break
	}
	if i == from || colon == i-1 || i < len(text) && (text[i] >= utf8.RuneSelf || text[i] == ':') {
		return full, name, -1
	}
	full = xmlSpan{from: int32(from), to: int32(i)}
	name = full
	if colon >= 0 {
		name.from = int32(colon + 1)
	}
	return full, name, i
}

func isXMLSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// attribute returns the first attribute of a node with that name, whatever its prefix.
func (t *xmlTree) attribute(text string, node int32, name string) *xmlAttr {
	for i := t.nodes[node].attrs[0]; i < t.nodes[node].attrs[1]; i++ {
		if t.attrs[i].name.in(text) == name {
			return &t.attrs[i]
		}
	}
	return nil
}
