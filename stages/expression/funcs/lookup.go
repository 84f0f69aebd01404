package funcs

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// lookup is a file of type map: rows with a pattern, how it matches, and a tag.
type lookup struct {
	rows     []map[string]string
	equal    map[string]int // row by pattern
	texts    []string
	contains *textSet // of texts
	textRow  []int
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
		m.texts, m.textRow = append(m.texts, row["pattern"]), append(m.textRow, n)
	case "regex":
		re, err := regexp.Compile(row["pattern"])
		if err != nil {
			return fmt.Errorf("the row's pattern %q is no regular expression: %w", shorten(row["pattern"]), err)
		}
		m.regexps, m.regexRow = append(m.regexps, re), append(m.regexRow, n)
	default:
		return fmt.Errorf("the row's type is %q; it can be equals, contains or regex", row["type"])
	}
	m.rows = append(m.rows, row)
	return nil
}

// build readies the rows for find, when all are added.
func (m *lookup) build() { m.contains = newTextSet(m.texts) }

// find returns the tag of the row that fits: an equal one, else the one whose
// text stands leftmost (the earlier row where two begin at one place), else a regexp.
func (m *lookup) find(s string) string {
	if n, ok := m.equal[s]; ok {
		return m.rows[n]["tag"]
	}
	if i := m.contains.first(s); i >= 0 {
		return m.rows[m.textRow[i]]["tag"]
	}
	for i, re := range m.regexps {
		if re.MatchString(s) {
			return m.rows[m.regexRow[i]]["tag"]
		}
	}
	return ""
}
