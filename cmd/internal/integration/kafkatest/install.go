package kafkatest

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sluice/cmd/internal/integration/process"
)

//go:embed pom.xml
var pom []byte

// Kafka is a Kafka that is ready to be started.
type Kafka struct {
	java      string
	classpath string
}

// MissingError says that a machine lacks what Kafka needs: tests are skipped
// for it, and for nothing else.
type MissingError struct {
	What string // such as "no JDK"
}

// Error names what is missing.
func (e *MissingError) Error() string { return e.What }

// Install has Maven fetch Kafka, unless it is in Maven's repository already.
// The error is a *MissingError where there is no Java runtime or no Maven.
func Install(ctx context.Context) (*Kafka, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, &MissingError{"no JDK (java 17 or newer is not in PATH)"}
	}
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return nil, &MissingError{"no Maven (mvn is not in PATH)"}
	}
	dir, err := os.MkdirTemp("", "sluice-kafka-")
	if err != nil {
		return nil, fmt.Errorf("kafka: a folder to resolve its class path in: %w", err)
	}
	defer os.RemoveAll(dir)
	project, out := filepath.Join(dir, "pom.xml"), filepath.Join(dir, "classpath")
	if err := os.WriteFile(project, pom, 0o600); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	done, err := process.Alone(ctx, "maven")
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	defer done()
	cmd := exec.CommandContext(ctx, maven, "--batch-mode", "--quiet", "--file", project,
		"dependency:build-classpath", "-Dmdep.outputFile="+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("kafka: Maven does not resolve it (%w); is its registry within reach? It says:\n%s", err, bytes.TrimSpace(text))
	}
	classpath, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("kafka: reading its class path: %w", err)
	}
	return &Kafka{java: java, classpath: strings.TrimSpace(string(classpath))}, nil
}
