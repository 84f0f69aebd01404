package reference

import (
	"fmt"

	"github.com/goccy/go-yaml"

	"sluice/pipeline/component"
)

// requiredIn returns the paths of the keys without which a kind's example
// does not work, such as "brokers" or "subscriptions.filter".
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
	each(example, "", func(path string) {
		text, err := yaml.Marshal(example)
		if err != nil {
			failed = err
			return
		}
		if len(example) == 0 {
			text = nil
		}
		if try(info.Type, string(text)) != nil {
			out[path] = true
		}
	})
	return out, failed
}

// each takes each key out of a tree of mappings, one at a time, and calls visit meanwhile.
func each(node any, path string, visit func(path string)) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			delete(n, key)
			visit(path + key)
			n[key] = value
			each(value, path+key+".", visit)
		}
	case []any:
		for _, value := range n {
			each(value, path, visit)
		}
	}
}
