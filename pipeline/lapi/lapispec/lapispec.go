package lapispec

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/goccy/go-yaml"
)

// Path returns where a specification is: in the folder of SLUICE_LAPI, or at
// the path itself where that is not set.
func Path(path string) string {
	if dir := os.Getenv("SLUICE_LAPI"); dir != "" {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// Read reads a specification.
func Read(path string) (*openapi3.T, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the specification of the local API: %w; SLUICE_LAPI names another folder", err)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	plain, err := json.Marshal(withoutProse(tree))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var v2 openapi2.T
	if err := json.Unmarshal(plain, &v2); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	doc, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// withoutProse removes titles and descriptions.
func withoutProse(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for key, value := range t {
			if _, text := value.(string); text && (key == "description" || key == "title" || key == "summary") {
				delete(t, key)
				continue
			}
			t[key] = withoutProse(value)
		}
	case []any:
		for i := range t {
			t[i] = withoutProse(t[i])
		}
	}
	return tree
}
