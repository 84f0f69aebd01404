package decode

import (
	"maps"
	"slices"
	"strings"

	"sluice/pipeline/component"
)

// The formats.
const (
	// FormatRaw: the record is one line.
	FormatRaw = "raw"
	// FormatLines: the record is split at line ends.
	FormatLines = "lines"
	// FormatJSON: the record is an envelope, or several one after the other,
	// or an array of them; each is one line.
	FormatJSON = "json"
	// FormatCloudTrail: the record is a CloudTrail file, {"Records": […]}, and
	// each entry's JSON is one line. A record without Records is one entry.
	FormatCloudTrail = "cloudtrail"
)

// Config says how records become lines. Start from Default.
type Config struct {
	// Format is what a record holds. `raw`: it is a line. `lines`: it is split at line ends. `json`: it is an envelope, or several
	// one after the other, or an array of them. `cloudtrail`: it is a CloudTrail file, and each of its `Records` a line.
	Format string `yaml:"format"`
	// Preset gives the paths that a log shipper uses: `filebeat`, `fluentbit` or
	// `vector`. It implies `format: json`. Paths and labels set beside it win.
	Preset string `yaml:"preset"`
	// Message is the path of the line's text in an envelope, such as
	// `message` or `log.original`; a dot in a key is written `\.`, and the path `.`
	// is the whole envelope. What is not a string is passed on as its JSON.
	Message string `yaml:"message"`
	// Timestamp is the path of the line's time: RFC 3339, or Unix time in
	// seconds, milliseconds, microseconds or nanoseconds. Where it is absent
	// or cannot be read, the record's time holds.
	Timestamp string `yaml:"timestamp"`
	// Type is the label `type`, which parsers ask for first, such as `syslog` or `nginx`.
	Type string `yaml:"type"`
	// Labels are the labels that all lines have.
	Labels map[string]string `yaml:"labels"`
	// LabelsFrom are labels taken from the record, by the label's name: `topic`, `key`,
	// `header:NAME`, or, of an envelope, `field:PATH`.
	LabelsFrom map[string]string `yaml:"labels_from"`
	// TypeMap translates the value of the label `type`, such as a topic's name to a type.
	TypeMap map[string]string `yaml:"type_map"`
	// MaxLineBytes is the size of the longest line; longer ones are cut.
	MaxLineBytes component.Bytes `yaml:"max_line_bytes"`
	// MaxDepth is how deep the JSON of an envelope may nest, at most 1000.
	MaxDepth int `yaml:"max_depth"`
}

// Default returns the configuration of plain lines.
func Default() Config {
	return Config{Format: FormatRaw, MaxLineBytes: 1 << 20, MaxDepth: 64}
}

// preset is where a log shipper puts things in its envelope by default.
type preset struct {
	message, timestamp string
	labels             map[string]string
}

var presets = map[string]preset{
	"filebeat":  {"message", "@timestamp", map[string]string{"type": "field:fields.type"}},
	"fluentbit": {"log", "@timestamp", map[string]string{"type": "field:type"}},
	"vector":    {"message", "timestamp", map[string]string{"type": "field:type"}},
}

// Validate checks the configuration and fills in what a preset implies.
func (c *Config) Validate() error {
	if err := c.applyPreset(); err != nil {
		return err
	}
	switch c.Format {
	case FormatRaw, FormatLines:
		if c.Message != "" || c.Timestamp != "" {
			return component.Invalid("format", "message and timestamp are paths into an envelope, and format %s has none; set format: json", c.Format)
		}
	case FormatJSON:
		if c.Message == "" {
			return component.Invalid("message", `format json needs the path of the message, such as message; "." takes the whole envelope`)
		}
	case FormatCloudTrail:
		if c.Message == "" {
			c.Message = "."
		}
		if c.Timestamp == "" {
			c.Timestamp = "eventTime"
		}
	default:
		return component.Invalid("format", "%q is no format; known are raw, lines, json, cloudtrail", c.Format)
	}
	if c.MaxLineBytes < 1 {
		return component.Invalid("max_line_bytes", "at least 1 is needed")
	}
	if c.MaxDepth < 1 || c.MaxDepth > 1000 {
		return component.Invalid("max_depth", "%d is not between 1 and 1000", c.MaxDepth)
	}
	return c.validateLabels()
}

func (c *Config) applyPreset() error {
	if c.Preset == "" {
		return nil
	}
	p, ok := presets[c.Preset]
	if !ok {
		return component.Invalid("preset", "%q is no preset; known are %s", c.Preset, strings.Join(slices.Sorted(maps.Keys(presets)), ", "))
	}
	if c.Format != FormatRaw && c.Format != "" && c.Format != FormatJSON {
		return component.Invalid("preset", "a preset is for format json, not %s", c.Format)
	}
	c.Format = FormatJSON
	if c.Message == "" {
		c.Message = p.message
	}
	if c.Timestamp == "" {
		c.Timestamp = p.timestamp
	}
	labels := maps.Clone(p.labels)
	maps.Copy(labels, c.LabelsFrom)
	c.LabelsFrom = labels
	return nil
}

func (c *Config) validateLabels() error {
	for name, from := range c.LabelsFrom {
		origin, arg, _ := strings.Cut(from, ":")
		switch {
		case name == "":
			return component.Invalid("labels_from", "a label needs a name")
		case from == "topic", from == "key":
		case origin == "header" && arg != "":
		case origin == "field" && arg != "":
			if c.Format != FormatJSON && c.Format != FormatCloudTrail {
				return component.Invalid("labels_from."+name, "format %s has no fields; set format: json", c.Format)
			}
		default:
			return component.Invalid("labels_from."+name, "%q is none of topic, key, header:NAME, field:PATH", from)
		}
	}
	return nil
}
