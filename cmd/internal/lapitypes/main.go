// Command lapitypes writes the types of package pipeline/lapi out of the
// LAPI's published specification, which it finds in SLUICE_LAPI or beside the
// repository. It is run by go generate.
//
// The specification is in the form of Swagger 2, and the generator reads
// OpenAPI 3, so it is converted; and its prose stays behind: the types alone
// are the interface.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/goccy/go-yaml"
)

// generator is run by its version, so that it is no dependency of the program's.
const generator = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lapitypes SWAGGER.yaml OUT.go; SLUICE_LAPI names another folder for the first")
		os.Exit(2)
	}
	if err := generate(context.Background(), specification(os.Args[1]), os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "lapitypes:", err)
		os.Exit(1)
	}
}

func specification(path string) string {
	if dir := os.Getenv("SLUICE_LAPI"); dir != "" {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

func generate(ctx context.Context, from, to string) error {
	converted, err := convert(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	dir, err := os.MkdirTemp("", "lapitypes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	spec := filepath.Join(dir, "openapi.json")
	if err := os.WriteFile(spec, converted, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", generator, "-generate", "types,skip-prune", "-package", "lapi", "-o", to, spec)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the generator: %w", err)
	}
	return nil
}

// convert reads a specification in Swagger 2 and returns it in OpenAPI 3, without prose.
func convert(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(withoutProse(tree))
	if err != nil {
		return nil, err
	}
	var v2 openapi2.T
	if err := json.Unmarshal(plain, &v2); err != nil {
		return nil, err
	}
	v2.Paths = nil // the types of bodies are all defined by name
	v3, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, err
	}
	return v3.MarshalJSON()
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
