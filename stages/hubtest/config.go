package hubtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Config is a test's config.yaml.
type Config struct {
	Parsers         []string          `yaml:"parsers"`
	Scenarios       []string          `yaml:"scenarios"`
	Postoverflows   []string          `yaml:"postoverflows"`
	Collections     []string          `yaml:"collections"`
	LogFile         string            `yaml:"log_file"`
	LogType         string            `yaml:"log_type"`
	Labels          map[string]string `yaml:"labels"`
	IgnoreParsers   bool              `yaml:"ignore_parsers"`
	OverrideStatics []Override        `yaml:"override_statics"`
}

// Override is a static that runs before the first stage.
type Override struct {
	Meta       string `yaml:"meta"`
	Parsed     string `yaml:"parsed"`
	Enriched   string `yaml:"enriched"`
	Target     string `yaml:"target"`
	Method     string `yaml:"method"`
	Value      string `yaml:"value"`
	Expression string `yaml:"expression"`
}

// readConfig reads config.yaml of a test's folder. Lists may hold empty
// strings, which stand for nothing.
func readConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the test's configuration: %w", err)
	}
	c := &Config{}
	if err := yaml.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, list := range []*[]string{&c.Parsers, &c.Scenarios, &c.Postoverflows, &c.Collections} {
		kept := (*list)[:0]
		for _, item := range *list {
			if item = strings.TrimSpace(item); item != "" {
				kept = append(kept, item)
			}
		}
		*list = kept
	}
	if c.LogFile == "" {
		return nil, fmt.Errorf("%s: log_file names no log", path)
	}
	return c, nil
}
