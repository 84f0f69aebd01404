package file

import (
	"os"
	"path/filepath"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
)

// Config says where alerts are written, and how. Start from Default.
type Config struct {
	// Path is the file, or `-` for standard output. Its folder must be there. No
	// other sink may write the file, and no source may read it.
	Path string `yaml:"path"`
	// Format is what a line holds: an alert as `sluice`, `crowdsec`, `ocsf`, `ecs`, `cef` or `text`.
	Format format.Format `yaml:"format"`
	// Fsync makes every batch durable before it counts as delivered.
	Fsync bool `yaml:"fsync"`
	// Colour says when text is coloured: `auto` (on a terminal, unless NO_COLOR is set), `always` or `never`.
	Colour string `yaml:"colour"`
	// Mode is the permissions of a file that is created, in octal.
	Mode string `yaml:"mode"`
	// MaxBytes is the size at which a new file is begun; the old one becomes
	// PATH.1, the one before PATH.2, and so on. 0 leaves rotation to others, who
	// rename the file and send SIGHUP.
	MaxBytes component.Bytes `yaml:"max_bytes"`
	// Keep is how many old files stay beside the current one, from 1.
	Keep int `yaml:"keep"`
}

// Default returns JSON lines to nowhere yet.
func Default() Config { return Config{Format: format.Sluice, Colour: "auto", Mode: "0640", Keep: 7} }

// Validate checks the configuration. The folder of the path must be there.
func (c *Config) Validate() error {
	if c.Path == "" {
		return component.Invalid("path", "name a file, or - for standard output")
	}
	if err := validateColour(c.Colour); err != nil {
		return err
	}
	if c.MaxBytes > 0 && (c.Keep < 1 || c.Path == stdout) {
		return component.Invalid("max_bytes", "rotation takes a file, and a keep of at least 1")
	}
	if _, err := fileMode(c.Mode); err != nil {
		return component.Invalid("mode", "%q is no octal number such as 0640", c.Mode)
	}
	if c.Path == stdout {
		return nil
	}
	dir := filepath.Dir(c.Path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return component.Invalid("path", "the folder %s is not there; create it", dir)
	}
	if info, err := os.Stat(c.Path); err == nil && info.IsDir() {
		return component.Invalid("path", "%s is a folder; name a file in it", c.Path)
	}
	return nil
}

// StdoutConfig is the configuration of the type stdout.
type StdoutConfig struct {
	// Format is what a line holds: an alert as `sluice`, `crowdsec`, `ocsf`, `ecs`, `cef` or `text`.
	Format format.Format `yaml:"format"`
	// Colour says when text is coloured: `auto` (on a terminal, unless NO_COLOR is set), `always` or `never`.
	Colour string `yaml:"colour"`
}

// Validate checks the configuration.
func (c *StdoutConfig) Validate() error { return validateColour(c.Colour) }

func validateColour(colour string) error {
	if colour != "auto" && colour != "always" && colour != "never" {
		return component.Invalid("colour", "%q is none of auto, always, never", colour)
	}
	return nil
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "file",
		Summary:  "Alerts, a line each in any format, appended to a file that may be rotated.",
		Delivery: "at least once",
		Description: "The file is reopened on SIGHUP, and begun anew at `max_bytes`. `fsync` makes every batch durable before it counts as delivered. After a crash a line that was half written is cut off, and the " +
			"last batch may be there again, with the same ids.",
		Example: "path: alerts.jsonl\nfsync: true\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
	sinks.Register(sinks.Kind[StdoutConfig]{
		Type:        "stdout",
		Summary:     "Alerts on standard output, a line each in any format.",
		Delivery:    "at least once",
		Description: "Text is coloured on a terminal, unless NO_COLOR is set.",
		Example:     "format: text\n",
		Default:     func() StdoutConfig { return StdoutConfig{Format: format.Sluice, Colour: "auto"} },
		New: func(name string, c StdoutConfig, env sinks.Env) (sinks.Sink, error) {
			full := Default()
			full.Path, full.Format, full.Colour = stdout, c.Format, c.Colour
			return New(name, full, env)
		},
	})
	sinks.RegisterDeadLetters(sinks.DeadLettersKind[DeadConfig]{
		Type:    "file",
		Summary: "Dead letters as JSON lines, appended to a file.",
		Description: "JSON lines with the names of the headers that the kind `kafka` has. Bytes that are no UTF-8 are in base64, under `value_base64` in place of `value`. " +
			"The file is opened again on SIGHUP.",
		Example: "path: dead.jsonl\n",
		Default: DefaultDead,
		New:     func(_ string, c DeadConfig, env sinks.Env) (sinks.DeadLetters, error) { return NewDeadLetters(c, env) },
	})
}
