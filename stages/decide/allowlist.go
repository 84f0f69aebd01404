package decide

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/stages/expression"
)

// Allowlist names addresses, ranges and conditions on which nothing is decided.
type Allowlist struct {
	// Name is for alerts, logs and errors.
	Name string `yaml:"name"`
	// Items are what is on it.
	Items []AllowlistItem `yaml:"items"`
}

// AllowlistItem is an item of an allow-list: a value or an expression.
type AllowlistItem struct {
	// Value is an address or a range.
	Value string `yaml:"value"`
	// Expression is a condition over Alert, as the filters of profiles are.
	Expression string `yaml:"expression"`
	// Comment says why it is there.
	Comment string `yaml:"comment"`
	// Until is when it ends, such as 2026-12-31 or 2026-12-31T12:00:00Z; never when empty. The time of the alert counts, not that of the wall.
	Until string `yaml:"until"`
}

// Compiler makes a condition of an expression over Alert.
type Compiler func(expression string) (func(*pipeline.Alert) (bool, error), error)

// Conditions returns the Compiler for one goroutine at a time.
func Conditions(c *expression.Compiler) Compiler {
	return func(src string) (func(*pipeline.Alert) (bool, error), error) {
		condition, err := NewCondition(src, c)
		if err != nil {
			return nil, err
		}
		return condition.Holds, nil
	}
}

// CompileAllowlists makes the set of configured lists. Errors name the list and the item.
func CompileAllowlists(lists []Allowlist, compile Compiler) (*allowlist.Set, error) {
	out := make([]allowlist.List, len(lists))
	names := make(map[string]bool)
	for i, l := range lists {
		switch {
		case l.Name == "":
			return nil, fmt.Errorf("allow-list %d has no name", i+1)
		case names[l.Name]:
			return nil, fmt.Errorf("two allow-lists are called %q; give each a name of its own", l.Name)
		}
		names[l.Name] = true
		out[i].Name = l.Name
		for j, it := range l.Items {
			item, err := it.compile(compile)
			if err != nil {
				return nil, fmt.Errorf("allow-list %s: item %d: %w", l.Name, j+1, err)
			}
			out[i].Items = append(out[i].Items, item)
		}
	}
	return allowlist.New(out)
}

func (it *AllowlistItem) compile(compile Compiler) (allowlist.Item, error) {
	out := allowlist.Item{Value: it.Value, Comment: it.Comment}
	if (it.Value == "") == (it.Expression == "") {
		return out, errors.New("set value or expression, one of them")
	}
	if text := strings.TrimSpace(it.Until); text != "" {
		var err error
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if out.Until, err = time.Parse(layout, text); err == nil {
				break
			}
		}
		if err != nil {
			return out, fmt.Errorf("until is %q; it can be a day such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z", text)
		}
	}
	if it.Expression == "" {
		return out, nil
	}
	holds, err := compile(it.Expression)
	if err != nil {
		return out, fmt.Errorf("expression %q: %w", it.Expression, err)
	}
	out.Value, out.Holds = it.Expression, holds
	return out, nil
}
