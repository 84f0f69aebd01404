package exec

import (
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
)

// What a command is run for.
const (
	perAlert    = "alert"
	perDecision = "decision"
)

// Config says what is run. Start from Default.
type Config struct {
	// Command is the program: a path, or a name that is looked up in PATH.
	Command string `yaml:"command"`
	// Args are the arguments. Each is a template and becomes one argument; no shell reads it. `.Alert` is the alert; per decision,
	// `.Decision` is the decision and `.Seconds` how long it still holds. A value that begins with a dash where the template does not
	// is refused, since the program would take it for an option. `address .Decision.Value` gives an address or a range and refuses all else:
	// use it where the program reads an argument as a language, as nft does.
	Args []string `yaml:"args"`
	// Per is what the command is run for: each `alert`, or each `decision` of an alert.
	Per string `yaml:"per"`
	// Simulated runs the command for simulated alerts and decisions too.
	Simulated bool `yaml:"simulated"`
	// Stdin writes the alert to the command's standard input in this format, sluice, crowdsec, ocsf, ecs, cef or text; nothing when empty.
	Stdin format.Format `yaml:"stdin"`
	// Environment are variables that the command gets, as templates. Of the pipeline's own it gets PATH, HOME, LANG and TZ alone.
	Environment map[string]string `yaml:"environment"`
	// Timeout bounds a run: then the command and what it started are killed, and it counts as failed.
	Timeout time.Duration `yaml:"timeout"`
	// Parallel is how many commands run at once, at most. Those about one source run one after the other whatever it is.
	Parallel int `yaml:"parallel"`
	// RejectCodes are the exit codes that refuse an alert for good. 0 is done; after any other code the command is run again, as often as `retry` allows.
	RejectCodes []int `yaml:"reject_codes"`
}

// Default returns the configuration of no command yet.
func Default() Config { return Config{Per: perAlert, Timeout: 10 * time.Second, Parallel: 1} }

// Validate checks the configuration. It looks for no program yet.
func (c *Config) Validate() error {
	switch {
	case c.Command == "":
		return component.Invalid("command", "name the program, such as /usr/local/bin/ban")
	case c.Per != perAlert && c.Per != perDecision:
		return component.Invalid("per", "it is %q; it can be alert or decision", c.Per)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 10s")
	case c.Parallel < 1 || c.Parallel > 256:
		return component.Invalid("parallel", "%d is not between 1 and 256", c.Parallel)
	case slices.ContainsFunc(c.RejectCodes, func(code int) bool { return code < 1 || code > 255 }):
		return component.Invalid("reject_codes", "an exit code that refuses is between 1 and 255")
	}
	for name := range c.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return component.Invalid("environment", "%q cannot be a variable's name", name)
		}
	}
	_, err := c.compile()
	return err
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "exec",
		Summary:  "A command for each alert or decision, as fail2ban's actions are, with no shell in between.",
		Delivery: "at least once",
		Description: "Exit code 0 acknowledges, one of `reject_codes` refuses the alert for good; after any other, a signal or the timeout the command is run again, with all decisions of the alert " +
			"that still hold: so it must do no harm when it is run twice. A decision that ran out before its command was run is passed over. What a command prints is in the " +
			"error when it fails, and in the log at the level debug otherwise.",
		Example: "command: /usr/sbin/nft\nargs: [add, element, inet, filter, banned, \"{ {{ address .Decision.Value }} timeout {{ .Seconds }}s }\"]\nper: decision\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
