package funcs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// plainXML answers by etree alone: what both helpers must equal.
func plainXML(text, path, attr string) (value, attribute string) {
	p, err := etree.CompilePath(path)
	if err != nil {
		return "", ""
	}
	doc := etree.NewDocument()
	if doc.ReadFromString(text) != nil {
		return "", ""
	}
	e := doc.FindElementPath(p)
	if e == nil {
		return "", ""
	}
	return e.Text(), e.SelectAttrValue(attr, "")
}

func checkXML(t *testing.T, x *xmlReader, text, path, attr string) {
	t.Helper()
	value, attribute := plainXML(text, path, attr)
	for range 2 { // the second time from the remembered document
		if got := x.nodeValue(text, path); got != value {
			t.Errorf("XMLGetNodeValue(%q, %q) is %q, want %q", text, path, got, value)
		}
		if got := x.attributeValue(text, path, attr); got != attribute {
			t.Errorf("XMLGetAttributeValue(%q, %q, %q) is %q, want %q", text, path, attr, got, attribute)
		}
	}
}

var xmlSeeds = []string{
	`<Event xmlns='http://x/y'><System><Provider Name='P' Guid="{1}"/><EventID>7</EventID></System>` +
		`<EventData><Data Name='Image'>C:\a &amp; b</Data><Data Name="User">u&#13;&#x41;</Data><Data>é</Data></EventData></Event>`,
	`<?xml version="1.0" encoding="utf-8"?><a><b>c</b></a>`, `<a><!-- c --><b>x<!-- y -->z</b></a>`, `<a><![CDATA[<b>]]></a>`,
	`<a>x<b/>y</a>`, `<a b="1" b="2"/>`, `<a></b>`, `<a>`, `<a/><a/>`, `text`, ``, `<a b='<'/>`, `<a>]]></a>`, `<a>&nope;</a>`, `<a>&#0;</a>`,
	`<p:a q:b="1"><p:c>x</p:c></p:a>`, `<a:b:c/>`, `<:a/>`, `<a:/>`, `<a b = "1"/>`, `<a b="1"c="2"/>`, "<a>\r\n</a>", "<a>\x01</a>", "<a>\xff</a>",
	"<a>\xef\xbf\xbe</a>", `<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`, `<a ></a >`, `<a / >`, `<1a/>`, `<é/>`, `<a b="&lt;&quot;"/>`, ` <a/> `, `x<a/>`,
	`<a><b n="1">1</b><b n="2">2</b><c><b>3</b></c><c><b n="2">4</b></c></a>`, `<a b=1/>`, `<a b/>`, `<a>&#xD800;</a>`, `<a>&#</a>`, `<a>&</a>`,
	`<a/>` + "\n", `<a/> x`, `&#65;<a/>`, `<a b:c="1" c="2"/>`, `<a>&#60;b&#62;</a>`,
}

var xmlPaths = []string{
	"/Event/EventData[1]/Data[@Name='Image']", "/Event/EventData/Data[3]", "/Event/System[1]/Provider", "/a", "/a/b", "/a/b[2]", "/a/c/b", "/a/c[2]/b",
	"/a/b[@n='2'][1]", "/a/b[1][@n='2']", "//b", "/a/*", "a", "/a/b[", "/a/b[text()='x']", "/p:a/p:c", "/a[@b='1']", "/a[@c='1']", "/a/b[0]", "/a/b[-1]", "/",
	"", "/a/", "/a//b", "/a[@b]", `/a/b[@n="2"]`, "/a/b[01]", "/a/c/b[@n='2']", "/Event/System/EventID", "/a/b[@n='']",
}

func TestXMLEqualsEtree(t *testing.T) {
	x := newXMLReader()
	for _, text := range xmlSeeds {
		for _, path := range xmlPaths {
			checkXML(t, x, text, path, "Name")
			checkXML(t, x, text, path, "b")
			checkXML(t, x, text, path, "c")
			checkXML(t, x, text, path, "b:c")
		}
	}
}

// TestXMLOfTheHub reads the Windows events of the hub's tests, and asks that
// most of them take the fast way.
func TestXMLOfTheHub(t *testing.T) {
	logs, err := filepath.Glob(filepath.Join(hub(t), "tests", "*", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Skip("the hub has no tests")
	}
	x := newXMLReader()
	lines, plain := 0, 0
	for _, log := range logs {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\r\n")
			if !strings.HasPrefix(line, "<Event") {
				continue
			}
			lines++
			if d := x.take(line); d.plain {
				plain++
			}
			for _, path := range xmlPaths[:3] {
				checkXML(t, x, line, path, "Name")
			}
		}
	}
	t.Logf("%d of %d documents take the fast way", plain, lines)
	if lines == 0 || plain < lines*9/10 {
		t.Errorf("only %d of %d documents take the fast way", plain, lines)
	}
}

func TestHostileXMLEnds(t *testing.T) {
	x := newXMLReader()
	deep := strings.Repeat("<a>", 20_000)
	for _, text := range []string{
		deep, deep + strings.Repeat("</a>", 20_000), "<a " + strings.Repeat("b='1' ", 50_000), strings.Repeat("&", 1<<20), "<a>" + strings.Repeat("&amp;", 1<<17),
		"<a" + strings.Repeat(" ", 1<<20),
	} {
		for _, path := range []string{"/a/a", "//a[@x='1']", "/a"} {
			x.nodeValue(text, path)
			x.attributeValue(text, path, "b")
		}
	}
}

func TestXMLAnswersOutliveTheNextDocument(t *testing.T) {
	x := newXMLReader()
	first := x.nodeValue("<a>one &amp; two</a>", "/a") + x.nodeValue("<a>three</a>", "/a")
	x.nodeValue("<a>XXXXXXXXXXXXXX</a>", "/a")
	if first != "one & twothree" {
		t.Errorf("%q", first)
	}
}

func FuzzXML(f *testing.F) {
	for i, s := range xmlSeeds {
		f.Add(s, xmlPaths[i%len(xmlPaths)], "b")
	}
	x := newXMLReader()
	f.Fuzz(func(t *testing.T, text, path, attr string) {
		if len(text) < 4000 && len(path) < 200 {
			checkXML(t, x, text, path, attr)
		}
	})
}
