package app

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/outbox"
	"sluice/stages/engine"
)

// DeadLettersConfig says what becomes of records, lines and alerts that come
// to nothing. Beside these keys there is one that names the place: its kind.
type DeadLettersConfig struct {
	// Undecodable records are kept, and lines that no parser takes if Unparsed.
	Undecodable bool `yaml:"undecodable"`
	Unparsed    bool `yaml:"unparsed"`
	// Unreadable things, such as an object that a source cannot take apart, are kept.
	Unreadable bool `yaml:"unreadable"`
	// MaxRecordBytes bounds what is kept of one: longer ones are cut.
	MaxRecordBytes component.Bytes `yaml:"max_record_bytes"`
	// OnFull is what happens when more than outbox.quota waits for the place: block or drop_oldest.
	OnFull outbox.Policy `yaml:"on_full"`

	kind  string // of the place; empty when there are no dead letters
	place ast.Node
}

// DefaultDeadLetters returns the configuration before a file's keys are laid over it.
func DefaultDeadLetters() DeadLettersConfig {
	return DeadLettersConfig{Undecodable: true, Unreadable: true, MaxRecordBytes: 256 << 10, OnFull: outbox.Block}
}

// Validate implements component.Decode's check.
func (d *DeadLettersConfig) Validate() error {
	if d.MaxRecordBytes < 1 || d.MaxRecordBytes > 16<<20 {
		return component.Invalid("max_record_bytes", "%v is not between 1 and 16MiB", d.MaxRecordBytes)
	}
	if d.OnFull == outbox.DeadLetter {
		return component.Invalid("on_full", "dead letters cannot become dead letters; it can be block or drop_oldest")
	}
	return nil
}

// options say what the engine keeps.
func (d *DeadLettersConfig) options() engine.DeadOptions {
	if d.kind == "" {
		return engine.DeadOptions{}
	}
	return engine.DeadOptions{Undecodable: d.Undecodable, Unparsed: d.Unparsed, Unreadable: d.Unreadable, Bytes: int(d.MaxRecordBytes)}
}

// readDeadLetters reads the mapping dead_letters; without one there are none.
func readDeadLetters(node ast.Node) (DeadLettersConfig, error) {
	config := DefaultDeadLetters()
	if node == nil {
		return config, nil
	}
	var kinds []string
	for _, k := range sinks.DeadLettersKinds() {
		kinds = append(kinds, k.Type)
	}
	places, rest, err := component.Take(node, kinds...)
	if err != nil {
		return config, err
	}
	if len(places) != 1 {
		at := node.GetToken().Position
		return config, &component.ConfigError{Line: at.Line, Column: at.Column,
			Message: fmt.Sprintf("dead_letters names %d places; name one of %s", len(places), strings.Join(kinds, ", "))}
	}
	for config.kind, config.place = range places {
	}
	return config, component.Decode(rest, &config)
}

// addDeadLetters makes the place for dead letters, if there is to be one.
func (p *Pipeline) addDeadLetters(env Env) (err error) {
	d := &p.config.deadLetters
	if d.kind != "" {
		p.dead, err = sinks.NewDeadLetters(d.kind, d.place, sinks.Env{Log: env.Log, Stdout: env.Stdout})
	}
	return err
}

// deadItems are a batch's records and lines for the dead letters.
func deadItems(letters []pipeline.DeadLetter) []outbox.Item {
	items := make([]outbox.Item, len(letters))
	for i := range letters {
		items[i].Dead = &letters[i]
	}
	return items
}
