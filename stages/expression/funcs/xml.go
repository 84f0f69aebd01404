package funcs

import (
	"strings"
	"sync"

	"github.com/beevik/etree"
)

func xmlTable() []Function {
	x := newXMLReader()
	return []Function{
		pure2("XMLGetNodeValue", x.nodeValue),
		pure3("XMLGetAttributeValue", x.attributeValue),
	}
}

// xmlReader answers questions about XML lines. The parsers of Windows events
// ask some twenty of one line in a row, so documents are lent out with what
// was read of them last.
//
// Two ways lead to an answer. Ordinary documents and ordinary paths (see
// parsePlainXML and plainXMLPath) are read by xmlTree, without allocating; all
// others by etree, which CrowdSec uses. Both must give the same:
// TestXMLEqualsEtree and FuzzXML hold them together.
type xmlReader struct {
	queries *memo[xmlQuery]
	pool    sync.Pool // of *xmlDocument
}

// xmlQuery is a compiled path.
type xmlQuery struct {
	steps []xmlStep   // nil when the path is not plain
	path  *etree.Path // nil when it cannot be read: then nothing is found
}

// xmlDocument is the line that was asked about last.
type xmlDocument struct {
	text  []byte // a copy: the line's memory is written to again
	valid bool   // text has been parsed
	plain bool   // into tree; else only etree can
	tree  xmlTree

	loaded bool // etree has tried
	full   *etree.Document
}

// maxXML bounds a document, in bytes: etree keeps some twenty times its text.
const maxXML = 4 << 20

func newXMLReader() *xmlReader {
	x := &xmlReader{queries: newMemo(maxPaths, newXMLQuery)}
	x.pool.New = func() any { return &xmlDocument{} }
	return x
}

func newXMLQuery(path string) xmlQuery {
	p, err := etree.CompilePath(path)
	if err != nil {
		return xmlQuery{}
	}
	return xmlQuery{plainXMLPath(path), &p}
}

// nodeValue returns the text at the beginning of the first element on a path,
// "" when there is none. It may alias text.
func (x *xmlReader) nodeValue(text, path string) string {
	q := x.queries.get(path)
	if q.path == nil || len(text) > maxXML {
		return ""
	}
	d := x.take(text)
	defer x.pool.Put(d)
	if d.plain && q.steps != nil {
		if n := d.tree.find(text, q.steps, 0); n > 0 {
			return d.tree.nodes[n].text.decode(text)
		}
		return ""
	}
	if e := d.element(q); e != nil {
		return e.Text()
	}
	return ""
}

// attributeValue returns an attribute of the first element on a path, "" when
// there is none. It may alias text.
func (x *xmlReader) attributeValue(text, path, name string) string {
	q := x.queries.get(path)
	if q.path == nil || len(text) > maxXML {
		return ""
	}
	d := x.take(text)
	defer x.pool.Put(d)
	if d.plain && q.steps != nil && !strings.Contains(name, ":") {
		if n := d.tree.find(text, q.steps, 0); n > 0 {
			if a := d.tree.attribute(text, n, name); a != nil {
				return a.value.decode(text)
			}
		}
		return ""
	}
	if e := d.element(q); e != nil {
		return e.SelectAttrValue(name, "")
	}
	return ""
}

// take borrows a document that holds the text.
func (x *xmlReader) take(text string) *xmlDocument {
	d := x.pool.Get().(*xmlDocument)
	if !d.valid || string(d.text) != text {
		d.text = append(d.text[:0], text...)
		d.valid, d.loaded, d.full = true, false, nil
		d.plain = d.tree.parse(text)
	}
	return d
}

// element answers by etree.
func (d *xmlDocument) element(q xmlQuery) *etree.Element {
	if !d.loaded {
		d.loaded = true
		doc := etree.NewDocument()
		if doc.ReadFromBytes(d.text) == nil {
			d.full = doc
		}
	}
	if d.full == nil {
		return nil
	}
	return d.full.FindElementPath(*q.path)
}
