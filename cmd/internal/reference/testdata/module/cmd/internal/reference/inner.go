// Package reference stands in for the source of the test's own struct.
package reference

type inner struct {
	// Path is a file.
	Path string `yaml:"path"`
	Bare bool   `yaml:"bare"`
}
