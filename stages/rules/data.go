package rules

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// finder looks for data files and remembers what it found. It serves one Load.
type finder struct {
	dirs     []string
	testData bool
	found    map[[2]string]string // by name and URL's last element
	files    []DataFile
	listed   map[[2]string]bool // by name and type
}

func newFinder(o *Options) *finder {
	f := &finder{testData: o.TestData, found: map[[2]string]string{}, listed: map[[2]string]bool{}}
	f.dirs = append(f.dirs, o.DataDirs...)
	for i := len(o.Roots) - 1; i >= 0; i-- {
		f.dirs = append(f.dirs, filepath.Join(o.Roots[i], "data"))
	}
	return f
}

// path returns where an entry's file is, or "".
func (f *finder) path(d *Data) string {
	key := [2]string{d.DestFile, urlBase(d.SourceURL)}
	if p, ok := f.found[key]; ok {
		return p
	}
	names := []string{key[0], key[1]}
	if f.testData {
		names = []string{key[1], key[0]}
	}
	p := f.search(names)
	f.found[key] = p
	return p
}

func (f *finder) search(names []string) string {
	for _, name := range names {
		if name == "" || !filepath.IsLocal(name) {
			continue
		}
		for _, dir := range f.dirs {
			p := filepath.Join(dir, name)
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
				return p
			}
		}
	}
	return ""
}

// urlBase is the last element of a URL's path.
func urlBase(url string) string {
	url, _, _ = strings.Cut(url, "?")
	url, _, _ = strings.Cut(url, "#")
	if url == "" || strings.HasSuffix(url, "/") {
		return ""
	}
	return path.Base(url)
}

// missing tells which of a rule's data files are not there.
func (f *finder) missing(rule string, data []Data) Errors {
	var errs Errors
	for i := range data {
		d := &data[i]
		if f.path(d) != "" {
			continue
		}
		e := NewError(d.Pos, rule, fmt.Sprintf("data file %q is missing", d.DestFile), "")
		where := strings.Join(f.dirs, " or ")
		if d.SourceURL != "" {
			e.Message += fmt.Sprintf("; download %s and put it into %s", d.SourceURL, where)
		} else {
			e.Message += "; put it into " + where
		}
		errs = append(errs, e)
	}
	return errs
}

// list adds a rule's data files to the set's list. The first entry of a
// name and type counts, as in CrowdSec (FIDELITY 10).
func (f *finder) list(data []Data) {
	for i := range data {
		d := &data[i]
		key := [2]string{d.DestFile, d.Type}
		if f.listed[key] {
			continue
		}
		f.listed[key] = true
		f.files = append(f.files, DataFile{Data: *d, Path: f.path(d)})
	}
}

// allData lists the data entries of a node and of those below it.
func (n *Node) allData() []Data {
	if len(n.Nodes) == 0 {
		return n.Data
	}
	out := append([]Data(nil), n.Data...)
	for _, sub := range n.Nodes {
		out = append(out, sub.allData()...)
	}
	return out
}
