package file

import (
	"path/filepath"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
)

// Config says which files are read, and how. Start from Default.
type Config struct {
	// Paths are files, patterns such as `/var/log/nginx/*.log`, or `-` for standard input. At least one.
	Paths []string `yaml:"paths"`
	// Exclude are patterns, on the whole path, of files that are not read.
	Exclude []string `yaml:"exclude"`
	// Follow reads files as they grow, through rotation and truncation, instead of in one pass.
	Follow bool `yaml:"follow"`
	// Start is where following begins in files that are there at the start:
	// `end` or `beginning`. Files that come later are read from their beginning.
	Start string `yaml:"start"`
	// MaxLineBytes cuts longer lines; the rest of the line is dropped and the line counted.
	MaxLineBytes component.Bytes `yaml:"max_line_bytes"`
	// BatchRecords is the largest number of lines that go on together.
	BatchRecords int `yaml:"batch_records"`
	// BlockBytes is how much is read at once.
	BlockBytes component.Bytes `yaml:"block_bytes"`
	// PollInterval is how often followed files are looked at where the file
	// system tells nothing of its own, and how often patterns are matched again.
	PollInterval time.Duration `yaml:"poll_interval"`
	// RotateWait is how long a file that was renamed away stays open after its
	// last line, for writers that have not noticed yet.
	RotateWait time.Duration `yaml:"rotate_wait"`
	// Notify uses the file system's notifications beside polling.
	Notify bool `yaml:"notify"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`
}

// Default returns the configuration of one pass over nothing.
func Default() Config {
	return Config{
		Start: "end", MaxLineBytes: 1 << 20, BatchRecords: 1000, BlockBytes: 256 << 10,
		PollInterval: time.Second, RotateWait: 2 * time.Second, Notify: true,
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if len(c.Paths) == 0 {
		return component.Invalid("paths", "name at least one file, pattern, or - for standard input")
	}
	for _, key := range []struct {
		name     string
		patterns []string
	}{{"paths", c.Paths}, {"exclude", c.Exclude}} {
		for _, p := range key.patterns {
			if _, err := filepath.Match(p, ""); err != nil {
				return component.Invalid(key.name, "%q is no pattern: a [ is not closed or a \\ ends it", p)
			}
			if p == stdin && c.Follow {
				return component.Invalid(key.name, "standard input cannot be followed; leave out follow: it is read to its end")
			}
		}
	}
	switch {
	case c.Start != "end" && c.Start != "beginning":
		return component.Invalid("start", "%q is neither end nor beginning", c.Start)
	case c.MaxLineBytes < 1 || c.MaxLineBytes > 1<<30:
		return component.Invalid("max_line_bytes", "%v is not between 1 and 1GiB", c.MaxLineBytes)
	case c.BatchRecords < 1:
		return component.Invalid("batch_records", "at least 1 is needed")
	case c.BlockBytes < 1 || c.BlockBytes > 1<<30:
		return component.Invalid("block_bytes", "%v is not between 1 and 1GiB", c.BlockBytes)
	case c.PollInterval <= 0:
		return component.Invalid("poll_interval", "it must be more than 0s")
	case c.RotateWait < 0:
		return component.Invalid("rotate_wait", "it must not be negative")
	}
	return nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "file",
		Summary:  "Log files: in one pass or as they grow, plain, gzip or zstd; standard input.",
		Delivery: "exactly once (standard input: at most once)",
		Description: "Reads files line by line. Compression is told by a file's first bytes. " +
			"With `follow`, files are read through rotation by rename, by copying and truncating, and by compressing, also while Sluice does not run, as " +
			"long as the files stay in their folder; other compressed files are left out. Paths are relative to the folder that `sluice` is started in.\n\n" +
			"A position is a byte of a file, and which file that is, is remembered beside the state, so after a crash reading goes on behind the last line that a checkpoint " +
			"holds. What a file held that was truncated without a copy of it, behind the last look, is lost; it is counted as a gap where that is noticed.",
		Example: "paths: [/var/log/nginx/access.log]\nfollow: true\nlabels: {type: nginx}\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
