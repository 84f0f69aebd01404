package funcs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Data holds the data files that rules read: loaded once, then read by many
// goroutines.
type Data struct {
	lines   map[string][]string
	regexps map[string]*regexpSet
	maps    map[string]*lookup
	bots    map[string]*botList
}

// NewData returns an empty store.
func NewData() *Data {
	return &Data{
		lines: make(map[string][]string), regexps: make(map[string]*regexpSet),
		maps: make(map[string]*lookup), bots: make(map[string]*botList),
	}
}

// LoadOptions are the cache settings of a data: entry. They bound CrowdSec's
// caches of slow matches; ours need none, so they change nothing but speed
// there. See docs/compatibility.md.
type LoadOptions struct {
	Cache    *bool
	Strategy string
	Size     int
	TTLNanos int64
}

// maxDataLine bounds a line of a data file.
const maxDataLine = 1 << 20

// Load reads a file under the name that expressions use (dest_file). kind is
// string, regexp, map or bots; a second load of the same name and kind is
// ignored, and a file without a kind is not read (FIDELITY 10). An error
// names file and line.
func (d *Data) Load(name, path, kind string, opts LoadOptions) error {
	if s := opts.Strategy; s != "" && !slices.Contains([]string{"LRU", "LFU", "ARC"}, s) {
		return fmt.Errorf("data file %s: there is no cache strategy %q; it can be LRU, LFU or ARC", name, s)
	}
	switch kind {
	case "":
		return nil
	case "string":
		if _, ok := d.lines[name]; ok {
			return nil
		}
		lines := []string{}
		err := eachLine(path, func(line string) error { lines = append(lines, line); return nil })
		d.lines[name] = lines
		return err
	case "regex", "regexp":
		if _, ok := d.regexps[name]; ok {
			return nil
		}
		set := &regexpSet{}
		if err := eachLine(path, set.add); err != nil {
			return err
		}
		d.regexps[name] = set.build()
		return nil
	case "map":
		if _, ok := d.maps[name]; ok {
			return nil
		}
		m := &lookup{equal: make(map[string]int)}
		if err := eachLine(path, m.add); err != nil {
			return err
		}
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

// Lines returns the lines of a file of type string.
func (d *Data) Lines(name string) ([]string, bool) {
	lines, ok := d.lines[name]
	return lines, ok
}

// RegexpInFile tells whether a regexp of a file matches; false for a file that was not loaded.
func (d *Data) RegexpInFile(s, name string) bool {
	set := d.regexps[name]
	return set != nil && set.match(s)
}

func dataTable(d *Data) []Function {
	return []Function{
		pure1("File", func(name string) []string { return d.lines[name] }),
		pure2("RegexpInFile", d.RegexpInFile),
		pure1("FileMap", func(name string) []map[string]string {
			if m := d.maps[name]; m != nil {
				return m.rows
			}
			return []map[string]string{}
		}),
		pure2("LookupFile", func(s, name string) string {
			if m := d.maps[name]; m != nil {
				return m.find(s)
			}
			return ""
		}),
		{
			Name: "MatchKnownBot", Outside: true,
			Types: []any{new(func(string, string, string, ...string) bool)},
			Call:  d.matchKnownBot,
		},
	}
}

// lookup is a file of type map: rows with a pattern, how it matches, and a tag.
type lookup struct {
	rows     []map[string]string
	equal    map[string]int
	contains []int
	regexps  []*regexp.Regexp
	regexRow []int
}

func (m *lookup) add(line string) error {
	var row map[string]string
	if err := json.Unmarshal([]byte(line), &row); err != nil {
		return fmt.Errorf("not a JSON object of strings: %w", err)
	}
	for _, key := range []string{"pattern", "tag", "type"} {
		if row[key] == "" {
			return fmt.Errorf("the row has no %q", key)
		}
	}
	n := len(m.rows)
	switch row["type"] {
	case "equals":
		m.equal[row["pattern"]] = n // a later row replaces an earlier one
	case "contains":
		m.contains = append(m.contains, n)
	case "regex":
		re, err := regexp.Compile(row["pattern"])
		if err != nil {
			return fmt.Errorf("the row's pattern: %w", err)
		}
		m.regexps, m.regexRow = append(m.regexps, re), append(m.regexRow, n)
	default:
		return fmt.Errorf("the row's type is %q; it can be equals, contains or regex", row["type"])
	}
	m.rows = append(m.rows, row)
	return nil
}

// find returns the tag of the row that fits: an equal one, else the one whose
// text stands leftmost (the earlier row where two begin at one place), else a regexp.
func (m *lookup) find(s string) string {
	if n, ok := m.equal[s]; ok {
		return m.rows[n]["tag"]
	}
	best, at := -1, len(s)+1
	for _, n := range m.contains {
		if i := strings.Index(s, m.rows[n]["pattern"]); i >= 0 && i < at {
			best, at = n, i
		}
	}
	if best >= 0 {
		return m.rows[best]["tag"]
	}
	for i, re := range m.regexps {
		if re.MatchString(s) {
			return m.rows[m.regexRow[i]]["tag"]
		}
	}
	return ""
}
