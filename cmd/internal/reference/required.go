package reference

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml"

	"sluice/pipeline/component"
)

// requiredIn returns the paths of the keys without which a kind's example
// does not work, such as "brokers" or "subscriptions.filter". Two that go
// together, such as a user and a password, are not required where it works without both.
func requiredIn(info component.Info, try func(kind, keys string) error) (map[string]bool, error) {
	if err := try(info.Type, info.Example); err != nil {
		return nil, fmt.Errorf("the example does not work: %w", err)
	}
	var example map[string]any
	if err := yaml.Unmarshal([]byte(info.Example), &example); err != nil {
		return nil, fmt.Errorf("the example is no mapping: %w", err)
	}
	out := make(map[string]bool)
	var failed error
	works := func() bool {
		text, err := yaml.Marshal(example)
		if err != nil {
			failed = err
		}
		if len(example) == 0 {
			text = nil
		}
		return try(info.Type, string(text)) == nil
	}
	each(example, "", func(path string, beside map[string]any) {
		if works() {
			return
		}
		out[path] = true
		for _, key := range slices.Sorted(maps.Keys(beside)) {
			value := beside[key]
			delete(beside, key)
			if works() {
				delete(out, path)
			}
			beside[key] = value
		}
	})
	return out, failed
}

// each takes each key out of a tree of mappings, one at a time, and calls visit
// meanwhile with its path and what is left beside it.
func each(node any, path string, visit func(path string, beside map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(n)) {
			value := n[key]
			delete(n, key)
			visit(path+key, n)
			n[key] = value
			each(value, path+key+".", visit)
		}
	case []any:
		for _, value := range n {
			each(value, path, visit)
		}
	}
}
