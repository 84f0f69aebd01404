package decode

// Config says how records become lines. The zero value of Format is raw.
type Config struct {
	// Format is raw (the record is the line), lines (split at line ends), json
	// (an envelope) or cloudtrail (the entries of Records).
	Format string `yaml:"format"`
	// Preset gives the paths that a log shipper uses: filebeat, fluentbit or
	// vector. Paths set beside it win.
	Preset string `yaml:"preset"`
	// Message, Timestamp are dot paths into the envelope: message, log.original.
	Message   string `yaml:"message"`
	Timestamp string `yaml:"timestamp"`
	// Type is the label `type`, which hub rules ask for first, such as nginx.
	Type string `yaml:"type"`
	// Labels are fixed labels.
	Labels map[string]string `yaml:"labels"`
	// LabelsFrom are labels taken from the record: name → topic, key,
	// header:NAME, or (format json) field:PATH.
	LabelsFrom map[string]string `yaml:"labels_from"`
	// TypeMap translates the value found for the label `type`: topic or tag → type.
	TypeMap map[string]string `yaml:"type_map"`
	// MaxDepth bounds how deep the JSON of an envelope may nest.
	MaxDepth int `yaml:"max_depth"`
}

// Default returns the configuration of plain lines.
func Default() Config { return Config{Format: "raw", MaxDepth: 64} }
