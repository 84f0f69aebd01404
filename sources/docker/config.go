package docker

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sources"
	"sluice/sources/intake"
)

// Config says which containers are read. Start from Default. Most keys are
// named as CrowdSec names them.
type Config struct {
	// DockerHost is the engine's address: unix:///var/run/docker.sock, unix:///run/podman/podman.sock, tcp://host:2375, or, encrypted, https://host:2376.
	DockerHost string `yaml:"docker_host"`
	// TLS is how connections to https:// are encrypted, and those to tcp:// where any of its keys is set.
	TLS tlsclient.Config `yaml:"tls"`

	// ContainerName are names of containers that are read. At least one way to choose containers is needed: this, one of the next four keys, or `use_container_labels`.
	ContainerName []string `yaml:"container_name"`
	// ContainerID are ids of containers that are read, whole or their beginnings.
	ContainerID []string `yaml:"container_id"`
	// ContainerNameRegexp are regular expressions; containers with a name that one of them finds something in are read.
	ContainerNameRegexp []string `yaml:"container_name_regexp"`
	// ContainerIDRegexp are the same for ids.
	ContainerIDRegexp []string `yaml:"container_id_regexp"`
	// ContainerLabels are labels that containers must have, all of them, to be read; an empty value is any. A service of a swarm is
	// `com.docker.swarm.service.name: NAME`, on each of its nodes; one of Compose is `com.docker.compose.service: NAME`.
	ContainerLabels map[string]string `yaml:"container_labels"`
	// UseContainerLabels reads the containers that have the label `crowdsec.enable: true`, and gives their lines the labels that
	// their labels `crowdsec.labels.NAME` name, such as `crowdsec.labels.type: nginx`.
	UseContainerLabels bool `yaml:"use_container_labels"`
	// ContainerLabelPrefix is what the labels of `use_container_labels` begin with.
	ContainerLabelPrefix string `yaml:"container_label_prefix"`

	// FollowStdout reads what containers write to their standard output.
	FollowStdout bool `yaml:"follow_stdout"`
	// FollowStderr reads what containers write to their standard error.
	FollowStderr bool `yaml:"follow_stderr"`
	// Follow goes on with lines and containers as they come; without it the logs that there are are read, and the source ends.
	Follow bool `yaml:"follow"`
	// Since is where to begin when nothing was read yet: a time such as 2024-05-01T12:00:00Z, or how long ago, such as 42m. Left empty
	// it is now, or, without `follow`, the logs' beginning. What is finer than seconds does not count.
	Since string `yaml:"since"`
	// Until is where to end, written alike; it is for `follow: false`.
	Until string `yaml:"until"`

	// CheckInterval is how often containers are looked for, beside the engine's events.
	CheckInterval time.Duration `yaml:"check_interval"`
	// MaxLineBytes is the size of the longest line; longer ones are cut, and counted.
	MaxLineBytes component.Bytes `yaml:"max_line_bytes"`
	// RequestTimeout is how long an answer may take, but for logs and events, which are streams.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// BackoffMin is the wait after the first failure; it doubles with each further one.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Journal says where records are kept until the pipeline is through with them, and with them how far each container was read.
	Journal intake.JournalConfig `yaml:"journal"`
	// Labels are given to all lines, such as type: nginx. Those of `use_container_labels` win.
	Labels map[string]string `yaml:"labels"`

	names, ids []*regexp.Regexp
}

// Default returns the configuration of no container yet.
func Default() Config {
	return Config{
		DockerHost: "unix:///var/run/docker.sock", ContainerLabelPrefix: "crowdsec", FollowStdout: true, FollowStderr: true, Follow: true,
		CheckInterval: 5 * time.Second, MaxLineBytes: 1 << 20, RequestTimeout: 10 * time.Second,
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second, Journal: intake.Default(intake.Journal).Journal,
	}
}

// Validate checks the configuration and compiles its expressions.
func (c *Config) Validate() error {
	if _, _, err := c.address(); err != nil {
		return err
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if err := c.validateChoice(); err != nil {
		return err
	}
	for _, key := range []struct{ name, value string }{{"since", c.Since}, {"until", c.Until}} {
		if _, err := instant(key.value, time.Unix(0, 0)); err != nil {
			return component.Invalid(key.name, "%q is neither a time such as 2024-05-01T12:00:00Z nor how long ago, such as 42m", key.value)
		}
	}
	switch {
	case !c.FollowStdout && !c.FollowStderr:
		return component.Invalid("follow_stdout", "with follow_stderr false as well there is nothing to read")
	case c.Until != "" && c.Follow:
		return component.Invalid("until", "it needs follow: false")
	case c.CheckInterval < 100*time.Millisecond:
		return component.Invalid("check_interval", "it must be at least 100ms")
	case c.MaxLineBytes < 1 || c.MaxLineBytes > 256<<20:
		return component.Invalid("max_line_bytes", "it must be from 1 to 256MiB")
	case c.RequestTimeout <= 0:
		return component.Invalid("request_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	i := c.intake()
	return i.Validate()
}

func (c *Config) validateChoice() error {
	if len(c.ContainerName)+len(c.ContainerID)+len(c.ContainerNameRegexp)+len(c.ContainerIDRegexp)+len(c.ContainerLabels) == 0 && !c.UseContainerLabels {
		return component.Invalid("container_name", "say which containers are read: name one, or set container_name_regexp, container_labels or use_container_labels")
	}
	if slices.Contains(c.ContainerName, "") {
		return component.Invalid("container_name", "a name is empty")
	}
	if slices.Contains(c.ContainerID, "") {
		return component.Invalid("container_id", "an id is empty")
	}
	for _, e := range []struct {
		key   string
		texts []string
		to    *[]*regexp.Regexp
	}{{"container_name_regexp", c.ContainerNameRegexp, &c.names}, {"container_id_regexp", c.ContainerIDRegexp, &c.ids}} {
		*e.to = nil
		for _, text := range e.texts {
			compiled, err := regexp.Compile(text)
			if err != nil {
				return component.Invalid(e.key, "%v", err)
			}
			*e.to = append(*e.to, compiled)
		}
	}
	if c.UseContainerLabels && c.ContainerLabelPrefix == "" {
		return component.Invalid("container_label_prefix", "use_container_labels needs one")
	}
	return nil
}

// address returns the network and the address of the engine.
func (c *Config) address() (network, address string, err error) {
	u, err := url.Parse(c.DockerHost)
	switch {
	case err != nil:
		return "", "", component.Invalid("docker_host", "it is no address such as unix:///var/run/docker.sock or https://host:2376")
	case u.User != nil:
		return "", "", component.Invalid("docker_host", "an address has no user")
	case u.Scheme == "unix" && u.Host+u.Path != "":
		return "unix", u.Host + u.Path, nil
	case (u.Scheme == "tcp" || u.Scheme == "https") && u.Port() != "" && strings.Trim(u.Path, "/") == "":
		return "tcp", u.Host, nil
	}
	return "", "", component.Invalid("docker_host", "%q is no address such as unix:///var/run/docker.sock or https://host:2376", c.DockerHost)
}

// encrypted tells whether TLS is spoken over TCP.
func (c *Config) encrypted() bool {
	return strings.HasPrefix(c.DockerHost, "https:") || c.TLS != tlsclient.Config{}
}

// instant reads a time, or how long before now; the zero time when text is empty.
func instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// intake is what the intake is made of: places live in the journal, so it is the only mode.
func (c *Config) intake() intake.Config {
	i := intake.Default(intake.Journal)
	i.Journal = c.Journal
	return i
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "docker",
		Summary:  "Logs of containers, by the API of Docker's engine or of Podman.",
		Delivery: "exactly once, of logs that the engine keeps",
		Description: "Follows the logs of the containers that are chosen by name, id or label, as they come and go and are started again. How far each was read lies in a journal together with " +
			"the records: a time, and how many lines from that time on were taken, so that lines with equal times count once, too.\n\n" +
			"What a container wrote before it was removed is lost when it had not been read by then; so is what the engine's own rotation removed. " +
			"A line that a container writes more than a second after others with later times, while Sluice is away, is missed. " +
			"The logging driver must be one that the engine reads itself (`json-file`, `local`, `journald`).\n\n" +
			"A record is a line without its time, which is the record's time. Its headers are `container_name`, `container_id`, `image` and `stream` (stdout, stderr, or tty), of which `labels_from` makes labels. " +
			"Lines of terminals end with their line ends alone. Do not read the container that Sluice itself runs in.\n\n" +
			"The socket gives whoever reaches it power over the machine, as with all that read it.",
		Example: "container_name: [web]\nlabels: {type: nginx}\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
