// Command lapitypes writes the types of package pipeline/lapi out of the
// LAPI's published specification, which it finds in SLUICE_LAPI or beside the
// repository. It is run by go generate.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi3"

	"sluice/pipeline/lapi/lapispec"
)

// generator is run by its version, so that it is no dependency of the program's.
const generator = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lapitypes SWAGGER.yaml OUT.go; SLUICE_LAPI names another folder for the first")
		os.Exit(2)
	}
	if err := generate(context.Background(), lapispec.Path(os.Args[1]), os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "lapitypes:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, from, to string) error {
	doc, err := lapispec.Read(from)
	if err != nil {
		return err
	}
	doc.Paths = openapi3.NewPaths() // the types of bodies are all defined by name
	for _, s := range doc.Components.Schemas {
		exactNumbers(s)
	}
	converted, err := doc.MarshalJSON()
	if err != nil {
		return err
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

// exactNumbers makes numbers that have no format float64, which counts exactly
// where float32, the generator's choice, does not.
func exactNumbers(s *openapi3.SchemaRef) {
	if s.Ref != "" || s.Value == nil {
		return // a definition of its own
	}
	if s.Value.Type.Is("number") && s.Value.Format == "" {
		s.Value.Format = "double"
	}
	for _, p := range s.Value.Properties {
		exactNumbers(p)
	}
	for _, p := range s.Value.AllOf {
		exactNumbers(p)
	}
	if s.Value.Items != nil {
		exactNumbers(s.Value.Items)
	}
}
