package journald

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
)

// Words of start and emit.
const (
	startEnd       = "end"
	startBeginning = "beginning"

	emitLine    = "line"
	emitMessage = "message"
)

// Config says which entries are read, and what is made of them. Start from Default.
type Config struct {
	// Units are systemd units, such as ssh.service, whose entries are read, with those that systemd wrote about
	// them. Patterns are allowed. Entries of all are read when this, `identifiers` and `journalctl_filter` are empty.
	Units []string `yaml:"units"`
	// Identifiers are the names that programs log under, such as sshd or kernel. With `units` as well, an entry must match both.
	Identifiers []string `yaml:"identifiers"`
	// JournalctlFilter are further arguments of journalctl that choose entries: matches such as `_SYSTEMD_UNIT=ssh.service`
	// (different fields must all match, equal ones one of them, and `+` between them is an or), or options such as `--priority=warning`
	// or `--grep=…`. Options that decide about output, paging or cursors are refused.
	JournalctlFilter []string `yaml:"journalctl_filter"`
	// Priority leaves out entries that are less important: emerg, alert, crit, err, warning, notice, info or debug; a range is written `FROM..TO`.
	Priority string `yaml:"priority"`

	// Directory is a folder of journal files that is read instead of the system's own.
	Directory string `yaml:"directory"`
	// Files are journal files, or patterns of them, that are read instead of the system's own.
	Files []string `yaml:"files"`
	// Namespace is the journal namespace that is read; `*` is all of them.
	Namespace string `yaml:"namespace"`
	// Merge reads the journals of other machines that are in the same folder, too. Entries that arrive late, in the order of
	// times, while Sluice does not run are missed then.
	Merge bool `yaml:"merge"`

	// Follow goes on with entries as they come; without it the source ends at the journal's end.
	Follow bool `yaml:"follow"`
	// Start is where to begin when nothing was read yet: `end` or `beginning`. Without `follow` it is always the beginning.
	Start string `yaml:"start"`
	// Since begins with entries of a time instead, as journalctl writes times: `2024-05-01 12:00:00`, `yesterday`, `-1h`.
	Since string `yaml:"since"`
	// Until ends with entries of a time; it is for `follow: false`.
	Until string `yaml:"until"`

	// Emit is what a record holds. `line`: time, host, program, pid and message, as a syslog daemon writes them to a file; its label
	// `type` is `syslog` unless another is set, so that the hub's rules find what they know. `message`: the message alone.
	Emit string `yaml:"emit"`
	// Headers are fields of an entry, such as _SYSTEMD_UNIT or PRIORITY, that become headers of the record, for
	// `decode: {labels_from: {unit: "header:_SYSTEMD_UNIT"}}`.
	Headers []string `yaml:"headers"`
	// MaxMessageBytes is the size of the longest message; longer ones are cut, and counted.
	MaxMessageBytes component.Bytes `yaml:"max_message_bytes"`
	// Command is the program that reads the journal: a name that is looked for as shells do, or a path.
	Command string `yaml:"command"`
	// BackoffMin is the wait before journalctl is run again after a failure; it doubles with each further one.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Journal says where records are kept until the pipeline is through with them, and with them the place in systemd's journal.
	Journal intake.JournalConfig `yaml:"journal"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`
}

// Default returns the configuration of the system's whole journal, from now on.
func Default() Config {
	return Config{
		Follow: true, Start: startEnd, Emit: emitLine, MaxMessageBytes: 1 << 20, Command: "journalctl",
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second, Journal: intake.Default(intake.Journal).Journal,
	}
}

// fieldName is a field of the journal.
var fieldName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,63}$`)

// match is an argument that is no option.
var match = regexp.MustCompile(`^(?:\+|[A-Z_][A-Z0-9_]*=|/)`)

// options are those that journalctl_filter may have.
var options = []string{
	"--boot", "--case-sensitive", "--directory", "--dmesg", "--facility", "--file", "--grep", "--identifier", "--image", "--machine", "--merge", "--namespace",
	"--priority", "--root", "--since", "--system", "--unit", "--until", "--user", "--user-unit", "--exclude-identifier", "--invocation",
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if err := c.validateFilter(); err != nil {
		return err
	}
	switch {
	case c.Directory != "" && len(c.Files) > 0:
		return component.Invalid("files", "give directory or files, one of them")
	case c.Namespace != "" && (c.Directory != "" || len(c.Files) > 0):
		return component.Invalid("namespace", "it is for the system's own journal, and directory and files name another")
	case c.Start != startEnd && c.Start != startBeginning:
		return component.Invalid("start", "%q is neither end nor beginning", c.Start)
	case c.Until != "" && c.Follow:
		return component.Invalid("until", "it needs follow: false")
	case c.Emit != emitLine && c.Emit != emitMessage:
		return component.Invalid("emit", "%q is neither line nor message", c.Emit)
	case c.MaxMessageBytes < 1 || c.MaxMessageBytes > 256<<20:
		return component.Invalid("max_message_bytes", "it must be from 1 to 256MiB")
	case c.Command == "":
		return component.Invalid("command", "name the program that reads the journal, such as journalctl")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	for _, h := range c.Headers {
		if !fieldName.MatchString(h) {
			return component.Invalid("headers", "%q is no field of the journal, such as _SYSTEMD_UNIT", h)
		}
	}
	i := c.intake()
	return i.Validate()
}

func (c *Config) validateFilter() error {
	for _, l := range []struct {
		key    string
		values []string
	}{{"units", c.Units}, {"identifiers", c.Identifiers}, {"files", c.Files}} {
		if slices.Contains(l.values, "") {
			return component.Invalid(l.key, "an entry of the list is empty")
		}
	}
	for _, f := range c.JournalctlFilter {
		name, _, value := strings.Cut(f, "=")
		switch {
		case match.MatchString(f):
		case !strings.HasPrefix(f, "--"):
			return component.Invalid("journalctl_filter", "%q is neither a match such as _SYSTEMD_UNIT=ssh.service nor an option in its long form, such as --priority=warning", f)
		case !slices.Contains(options, name):
			return component.Invalid("journalctl_filter", "%q does not choose entries; options that do are %s", f, strings.Join(options, ", "))
		case (name == "--since" || name == "--until") && value:
			return component.Invalid("journalctl_filter", "set the key %s instead of %s", name[2:], name)
		}
	}
	return nil
}

// intake is what the intake is made of: the cursor lives in the journal, so it is the only mode.
func (c *Config) intake() intake.Config {
	i := intake.Default(intake.Journal)
	i.Journal = c.Journal
	return i
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "journald",
		Summary:  "The journal of systemd, by journalctl.",
		Delivery: "exactly once",
		Description: "Runs journalctl and takes its entries as lines. The cursor of the last entry lies in a journal of Sluice's together with the records, so that after a crash " +
			"reading goes on behind it; entries that systemd removed meanwhile are gone, and it does not tell. " +
			"When journalctl ends it is run again. The user that Sluice runs as needs to see the journal: make it a member of the group `systemd-journal`.\n\n" +
			"A record's time is that of the entry. Lines have their times in ISO 8601, with microseconds and the zone, where CrowdSec reads journalctl's short ones, which have no year and no zone. " +
			"A message of several lines is one record; parsers for the type `syslog` see its first line.",
		Example: "units: [ssh.service]\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
