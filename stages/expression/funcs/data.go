package funcs

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
)

// Data holds the data files that rules read: loaded first, then read by many
// goroutines without locks. Load must not run beside readers.
type Data struct {
	text    map[string]*textFile
	regexps map[string]*regexpFile
	maps    map[string]*lookup
	bots    map[string]*botList
}

// textFile is a file of type string.
type textFile struct {
	lines []string
	set   func() *textSet // made when it is first asked for
}

// NewData returns an empty store.
func NewData() *Data {
	return &Data{
		text: make(map[string]*textFile), regexps: make(map[string]*regexpFile),
		maps: make(map[string]*lookup), bots: make(map[string]*botList),
	}
}

// LoadOptions are the cache settings of a data: entry. An answer never changes
// while a file is loaded, so they are about speed alone: see docs/compatibility.md.
type LoadOptions struct {
	// Cache switches the cache off (false); nil and true leave it to the other fields.
	Cache *bool
	// Strategy is LRU, LFU, ARC or "", which is LRU. Each is bounded by Size
	// and forgets what was not used for the longest time.
	Strategy string
	// Size is the number of answers to remember, 0 for 50.
	Size int
	// TTLNanos asks for a cache too; answers do not age.
	TTLNanos int64
}

// maxDataLine bounds a line of a data file.
const maxDataLine = 1 << 20

// Load reads a file under the name that expressions use (dest_file). kind is
// string, regexp, map or bots; a second load of the same name and kind is
// ignored, and a file without a kind is not read (FIDELITY 10). An error
// names file and line.
func (d *Data) Load(name, path, kind string, opts LoadOptions) error {
	cache, err := opts.cache()
	if err != nil {
		return fmt.Errorf("data file %s: %w", name, err)
	}
	switch kind {
	case "":
		return nil
	case "string":
		if _, ok := d.text[name]; ok {
			return nil
		}
		lines := []string{}
		if err := eachLine(path, func(line string) error { lines = append(lines, line); return nil }); err != nil {
			return err
		}
		d.text[name] = &textFile{lines, sync.OnceValue(func() *textSet { return newTextSet(lines) })}
		return nil
	case "regex", "regexp":
		if _, ok := d.regexps[name]; ok {
			return nil
		}
		var all []*regexp.Regexp
		err := eachLine(path, func(line string) error {
			re, err := regexp.Compile(line)
			if err != nil {
				return fmt.Errorf("the line %q is no regular expression: %w", shorten(line), err)
			}
			all = append(all, re)
			return nil
		})
		if err != nil {
			return err
		}
		d.regexps[name] = newRegexpFile(all, cache)
		return nil
	case "map":
		if _, ok := d.maps[name]; ok {
			return nil
		}
		m := &lookup{equal: make(map[string]int)}
		if err := eachLine(path, m.add); err != nil {
			return err
		}
		m.build()
		d.maps[name] = m
		return nil
	case "bots":
		if _, ok := d.bots[name]; ok {
			return nil
		}
		b := &botList{}
		if err := eachLine(path, b.add); err != nil {
			return err
		}
		d.bots[name] = b
		return nil
	}
	return fmt.Errorf("data file %s: there is no type %q; it can be string, regexp, map or bots", name, kind)
}

// eachLine reads the lines of a file that are neither empty nor comments.
func eachLine(path string, f func(line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a data file: %w", err)
	}
	defer file.Close()
	sc := bufio.NewScanner(file)
	sc.Buffer(nil, maxDataLine)
	n := 0
	for sc.Scan() {
		n++
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}

// shorten cuts a text for an error message.
func shorten(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// Lines returns the lines of a file of type string, not to be written to. ok
// is false when no such file is loaded.
func (d *Data) Lines(name string) (lines []string, ok bool) {
	if f := d.text[name]; f != nil {
		return f.lines, true
	}
	return nil, false
}

// ContainsAny tells whether s contains any line of a file of type string: the
// fast form of any(File(name), {s contains #}). An unknown file has no lines.
func (d *Data) ContainsAny(name, s string) bool {
	f := d.text[name]
	return f != nil && f.set().in(s)
}

// RegexpInFile tells whether a regexp of a file matches; false for a file that was not loaded.
func (d *Data) RegexpInFile(s, name string) bool {
	f := d.regexps[name]
	return f != nil && f.match(s)
}

// LookupFile returns the tag that a file of type map has for s, "" for none.
func (d *Data) LookupFile(s, name string) string {
	if m := d.maps[name]; m != nil {
		return m.find(s)
	}
	return ""
}

func dataTable(d *Data) []Function {
	return []Function{
		pure1("File", func(name string) []string {
			if lines, ok := d.Lines(name); ok {
				return lines
			}
			return []string{}
		}),
		pure2("RegexpInFile", d.RegexpInFile),
		pure1("FileMap", func(name string) []map[string]string {
			if m := d.maps[name]; m != nil {
				return m.rows
			}
			return []map[string]string{}
		}),
		pure2("LookupFile", d.LookupFile),
	}
}
