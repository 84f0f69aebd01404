package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline/component"
	"sluice/pipeline/state"
	"sluice/stages/decide"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/enrich"
	"sluice/stages/rules"
)

// Config is a pipeline's configuration file.
type Config struct {
	// Name is what logs call the pipeline; the file's base name when empty.
	Name string `yaml:"name"`
	// Rules say which rules run.
	Rules RulesConfig `yaml:"rules"`
	// Pipeline tunes the graph.
	Pipeline PipelineConfig `yaml:"pipeline"`
	// State says where state is kept across restarts.
	State StateConfig `yaml:"state"`
	// Outbox bounds what waits for sinks beside the state.
	Outbox OutboxConfig `yaml:"outbox"`
	// Simulation marks alerts and decisions of scenarios as simulated.
	Simulation Simulation `yaml:"simulation"`
	// Profiles turn alerts into decisions; without any, addresses and ranges are banned for 4h.
	Profiles []decide.Profile `yaml:"profiles"`
	// Allowlists name addresses, ranges and conditions on which nothing is decided.
	Allowlists []decide.Allowlist `yaml:"allowlists"`

	sources, sinks []ast.Node
	deadLetters    DeadLettersConfig
	file           string
	checkedDir     string // the StateDir of a configuration that is checked without its state
}

// RulesConfig selects rules from hub-shaped folders.
type RulesConfig struct {
	// Roots are hub-shaped folders, relative to the configuration file; a
	// later one's file replaces an earlier one's of the same name.
	Roots []string `yaml:"roots"`
	// Collections, Parsers, … select by name; with none at all, everything is loaded.
	Collections   []string `yaml:"collections"`
	Parsers       []string `yaml:"parsers"`
	Postoverflows []string `yaml:"postoverflows"`
	Scenarios     []string `yaml:"scenarios"`
	Contexts      []string `yaml:"contexts"`
	// DataDirs are looked into for data files before data/ of each root.
	DataDirs []string `yaml:"data_dirs"`
	// Strict refuses to start when a rule is broken; otherwise it is left out and counted.
	Strict bool `yaml:"strict"`
}

// PipelineConfig tunes the graph.
type PipelineConfig struct {
	// Workers parse, Shards detect: goroutines. 0 is one for each core.
	// Alerts do not depend on either.
	Workers int `yaml:"workers"`
	Shards  int `yaml:"shards"`
	// BatchRecords cuts the sources' batches.
	BatchRecords int `yaml:"batch_records"`
	// Time is event (the default) or processing.
	Time string `yaml:"time"`
	// MaxFuture bounds how far a line's date moves the clock past its receipt.
	MaxFuture time.Duration `yaml:"max_future"`
	// Lateness is how far back an event may reach a bucket that memory still holds.
	Lateness time.Duration `yaml:"lateness"`
	// ContextValueLen bounds one value of the alert context, in bytes.
	ContextValueLen int `yaml:"context_value_len"`
	// ReverseDNS lets rules look up names of addresses; off, nothing leaves the machine.
	ReverseDNS bool `yaml:"reverse_dns"`
	// Order is arrival, or merged: the lines of all partitions by their clocks.
	Order string `yaml:"order"`
	// IdleAfter is how long merged lines wait for a partition that brings none.
	IdleAfter time.Duration `yaml:"idle_after"`
	// CommitInterval is how often offsets are committed; with state it is State.Interval.
	CommitInterval time.Duration `yaml:"commit_interval"`
}

// MaxGoroutines bounds workers and shards.
const MaxGoroutines = 1024

// Simulation is CrowdSec's: when enabled all scenarios but the exclusions are
// simulated, else only the exclusions are.
type Simulation struct {
	Enabled    bool     `yaml:"enabled"`
	Exclusions []string `yaml:"exclusions"`
}

func (s Simulation) simulated(scenario string) bool {
	return s.Enabled != slices.Contains(s.Exclusions, scenario)
}

// Default returns the configuration before a file's keys are laid over it.
func Default() Config {
	return Config{Pipeline: PipelineConfig{
		BatchRecords: 512, Time: "event", MaxFuture: 10 * time.Minute, Lateness: 5 * time.Minute,
		ContextValueLen: 4000, Order: OrderArrival, IdleAfter: 5 * time.Second, CommitInterval: time.Second,
	}, State: defaultState(), Outbox: defaultOutbox()}
}

// Validate implements component.Decode's check.
func (c *Config) Validate() error {
	p := &c.Pipeline
	switch {
	case len(c.Rules.Roots) == 0:
		return component.Invalid("rules", "rules.roots names no folder of rules, such as configs/rules")
	case p.Workers < 0 || p.Workers > MaxGoroutines:
		return component.Invalid("pipeline.workers", "it is %d; it can be 0 (one for each core) to %d", p.Workers, MaxGoroutines)
	case p.Shards < 0 || p.Shards > MaxGoroutines:
		return component.Invalid("pipeline.shards", "it is %d; it can be 0 (one for each core) to %d", p.Shards, MaxGoroutines)
	case p.BatchRecords < 1:
		return component.Invalid("pipeline.batch_records", "it is %d; it must be at least 1", p.BatchRecords)
	case p.Time != "event" && p.Time != "processing":
		return component.Invalid("pipeline.time", "it is %q; it can be event or processing", p.Time)
	case p.MaxFuture <= 0:
		return component.Invalid("pipeline.max_future", "it must be above 0, such as 10m")
	case p.Lateness < 0:
		return component.Invalid("pipeline.lateness", "it must not be below 0")
	case p.Order != OrderArrival && p.Order != OrderMerged:
		return component.Invalid("pipeline.order", "it is %q; it can be arrival or merged", p.Order)
	case p.IdleAfter <= 0:
		return component.Invalid("pipeline.idle_after", "it must be above 0, such as 5s")
	case p.CommitInterval <= 0:
		return component.Invalid("pipeline.commit_interval", "it must be above 0, such as 1s")
	}
	return cmp.Or(c.State.validate(), c.Outbox.validate())
}

// Load reads a configuration file. Errors say file, line and column.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := read(data)
	if err != nil {
		return nil, inFile(path, err)
	}
	c.file = path
	if c.Name == "" {
		c.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	return c, nil
}

func inFile(path string, err error) error {
	var bad *component.ConfigError
	if errors.As(err, &bad) && bad.Line > 0 {
		text := bad.Message
		if bad.Suggestion != "" {
			text += fmt.Sprintf(" (did you mean %q?)", bad.Suggestion)
		}
		return fmt.Errorf("%s:%d:%d: %s", path, bad.Line, bad.Column, text)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func read(data []byte) (*Config, error) {
	data, err := expand(data)
	if err != nil {
		return nil, err
	}
	node, err := component.Parse(data)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, errors.New("the file is empty; see configs/demo.yaml for an example")
	}
	taken, rest, err := component.Take(node, "sources", "sinks", "dead_letters")
	if err != nil {
		return nil, err
	}
	c := Default()
	if err := component.Decode(rest, &c, "sources", "sinks", "dead_letters"); err != nil {
		return nil, alone(rest, err)
	}
	if c.sources, err = list(taken["sources"], "sources"); err != nil {
		return nil, err
	}
	if c.sinks, err = list(taken["sinks"], "sinks"); err != nil {
		return nil, err
	}
	if c.deadLetters, err = readDeadLetters(taken["dead_letters"]); err != nil {
		return nil, err
	}
	return &c, nil
}

// alone explains what is wrong with a file that holds one source or sink and no
// pipeline, such as `sluice sources TYPE` prints it.
func alone(node ast.Node, err error) error {
	taken, _, terr := component.Take(node, "type")
	if terr != nil || taken["type"] == nil {
		return err
	}
	pos := taken["type"].GetToken().Position
	return &component.ConfigError{Line: pos.Line, Column: pos.Column, Message: "a source or a sink stands alone here; " +
		"make it an element of the list sources or sinks of a pipeline's file, as in configs/demo.yaml"}
}

func list(node ast.Node, key string) ([]ast.Node, error) {
	if node == nil {
		return nil, nil
	}
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		pos := node.GetToken().Position
		return nil, &component.ConfigError{Line: pos.Line, Column: pos.Column, Message: key + " must be a list: begin each with a dash"}
	}
	return seq.Values, nil
}

// relative makes a path of the configuration one of the working folder.
func (c *Config) relative(path string) string {
	if c.file == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.file), path)
}

// StateDir is the folder of the state, "" when none is kept.
func (c *Config) StateDir() string {
	if c.State.Dir == "" {
		return ""
	}
	return c.relative(c.State.Dir)
}

// sourcesDir and sinksDir are the folders under which sources and sinks keep
// things of their own, each in one of its name; "" when no state is kept.
func (c *Config) sourcesDir() string { return c.inState(state.SourcesFolder) }
func (c *Config) sinksDir() string   { return c.inState(state.SinksFolder) }

func (c *Config) inState(name string) string {
	dir := cmp.Or(c.StateDir(), c.checkedDir)
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

func (c *Config) relatives(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = c.relative(p)
	}
	return out
}

// LoadRules loads the rules that the configuration selects.
func (c *Config) LoadRules(log *slog.Logger) (*rules.Set, error) {
	r := &c.Rules
	return rules.Load(rules.Options{
		Roots: c.relatives(r.Roots), DataDirs: c.relatives(r.DataDirs),
		Collections: r.Collections, Parsers: r.Parsers, Postoverflows: r.Postoverflows,
		Scenarios: r.Scenarios, Contexts: r.Contexts, Strict: r.Strict, Logger: log,
	})
}

// Compile loads and compiles the rules. With strict rules any broken one is
// an error; otherwise they are logged, and skipped says how many were left out.
func (c *Config) Compile(log *slog.Logger, free bool) (eng *engine.Engine, skipped int, err error) {
	return c.compile(log, free, nil)
}

func (c *Config) compile(log *slog.Logger, free bool, names enrich.Resolver) (eng *engine.Engine, skipped int, err error) {
	set, err := c.LoadRules(log)
	if err != nil {
		return nil, 0, err
	}
	p := &c.Pipeline
	if !p.ReverseDNS {
		names = nil
	}
	eng, errs := engine.Compile(set, engine.Options{
		MaxFuture: p.MaxFuture, Free: free, Lateness: p.Lateness,
		Processing: p.Time == "processing", ReverseDNS: p.ReverseDNS, Names: names,
		ContextLength: p.ContextValueLen, Simulated: c.Simulation.simulated,
		Profiles: c.Profiles, Allowlists: c.Allowlists, Log: log,
	})
	if eng == nil || c.Rules.Strict && len(errs) > 0 {
		return nil, 0, errors.Join(errs...)
	}
	for _, e := range errs {
		log.Warn("a rule is left out", "error", e)
	}
	return eng, len(errs) + len(set.Skipped), nil
}

// goroutines returns n, or one for each core.
func goroutines(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// decoding splits a source's mapping into what decode and what the source reads.
func decoding(node ast.Node) (decode.Config, ast.Node, error) {
	config := decode.Default()
	taken, rest, err := component.Take(node, "decode")
	if err != nil {
		return config, nil, err
	}
	if err := component.Decode(taken["decode"], &config); err != nil {
		return config, nil, err
	}
	return config, rest, nil
}
