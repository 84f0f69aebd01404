package funcs

import (
	"sync"

	"github.com/beevik/etree"
)

func xmlTable() []Function {
	x := &xmlCache{paths: make(map[string]*etree.Path)}
	return []Function{
		pure2("XMLGetNodeValue", func(doc, path string) string {
			var out string
			x.find(doc, path, func(e *etree.Element) { out = e.Text() })
			return out
		}),
		pure3("XMLGetAttributeValue", func(doc, path, name string) string {
			var out string
			x.find(doc, path, func(e *etree.Element) {
				if a := e.SelectAttr(name); a != nil {
					out = a.Value
				}
			})
			return out
		}),
	}
}

// xmlCache remembers compiled paths, which come from rules, and lends out
// parsed documents: a rule asks the same line some twenty questions in a row.
type xmlCache struct {
	mu    sync.RWMutex
	paths map[string]*etree.Path
	pool  sync.Pool // of *xmlDocument
}

type xmlDocument struct {
	text string
	doc  *etree.Document // nil when the text is no XML
}

// maxXML bounds a document: etree keeps some twenty times its text.
const maxXML = 4 << 20

// maxPaths bounds the compiled paths, should an expression make them up.
const maxPaths = 10_000

func (x *xmlCache) find(text, path string, f func(*etree.Element)) {
	p := x.path(path)
	if p == nil || len(text) > maxXML {
		return
	}
	d, _ := x.pool.Get().(*xmlDocument)
	if d == nil {
		d = &xmlDocument{}
	}
	defer x.pool.Put(d)
	if d.doc == nil || d.text != text {
		// The text may alias a buffer that will be written to again.
		d.text, d.doc = string([]byte(text)), etree.NewDocument()
		if err := d.doc.ReadFromString(d.text); err != nil {
			d.doc = nil
			return
		}
	}
	if e := d.doc.FindElementPath(*p); e != nil {
		f(e)
	}
}

// path returns nil when a path cannot be read, as CrowdSec's helpers then find nothing.
func (x *xmlCache) path(text string) *etree.Path {
	x.mu.RLock()
	p, ok := x.paths[text]
	x.mu.RUnlock()
	if ok {
		return p
	}
	if compiled, err := etree.CompilePath(text); err == nil {
		p = &compiled
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.paths) < maxPaths {
		x.paths[string([]byte(text))] = p
	}
	return p
}
