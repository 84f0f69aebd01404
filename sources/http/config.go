package http

import (
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/internal/httpd"
)

// Config says where requests are listened for, and what their bodies hold. Start from Default.
type Config struct {
	httpd.Config `yaml:",inline"`

	// Paths are what is taken where. Each is a partition of its own.
	Paths []Path `yaml:"paths"`

	Intake intake.Config `yaml:",inline"`
}

// Path is a place that records are sent to.
type Path struct {
	// Path is a path such as `/logs`. `{name}` stands for one level of it, as in `/logs/{app}`, and `{rest...}` at the end for all that
	// follow, so `/{rest...}` is every path.
	Path string `yaml:"path"`
	// Format is what a body holds. `lines`: a record on each line. `ndjson`: a JSON value on each line. `json`: an array, each element of which is a record, or values
	// one after the other. `msgpack`: Fluent Bit's events or maps in MessagePack, each a record in JSON. `body`: one record. `loki`: what Loki's push API takes, as JSON or as protobuf. `auto` goes by the
	// request's Content-Type: `text/plain` or none is lines, `application/x-ndjson` is ndjson, `application/json` is json, `application/msgpack` is msgpack.
	Format string `yaml:"format"`
	// Clients are the names of users, tokens, keys or certificates that may send here; everybody who is let in may when it is empty. Others are
	// answered with 403.
	Clients []string `yaml:"clients"`
	// Labels are given to the lines of this path, such as type: nginx. They win over the source's, and over those of Loki's streams.
	Labels map[string]string `yaml:"labels"`
	// LabelsFrom are labels taken from the request, by the label's name: `path:NAME` of a `{NAME}` in the path, `header:NAME`,
	// `query:NAME`, `client` (the name of its key or certificate). One that is absent leaves what `labels` say. They win over all others.
	LabelsFrom map[string]string `yaml:"labels_from"`
}

// The formats.
const (
	formatAuto    = "auto"
	formatLines   = "lines"
	formatNDJSON  = "ndjson"
	formatJSON    = "json"
	formatMsgpack = "msgpack"
	formatBody    = "body"
	formatLoki    = "loki"
)

// Default returns a configuration that lacks only Listen.
func Default() Config {
	return Config{
		Config: httpd.Default(), Intake: intake.Default(intake.Journal),
		Paths: []Path{{Path: "/ingest", Format: formatAuto}, {Path: "/loki/api/v1/push", Format: formatLoki}},
	}
}

// Validate checks the configuration, and fills in the format of paths that have none.
func (c *Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	if len(c.Paths) == 0 {
		return component.Invalid("paths", "name at least one, such as {path: /ingest}")
	}
	formats := []string{formatAuto, formatLines, formatNDJSON, formatJSON, formatMsgpack, formatBody, formatLoki}
	var endpoints []httpd.Endpoint
	for i := range c.Paths {
		p := &c.Paths[i]
		if p.Format == "" {
			p.Format = formatAuto
		}
		if !slices.Contains(formats, p.Format) {
			return component.Invalid("paths", "the format %q of %s is none of %s", p.Format, p.Path, strings.Join(formats, ", "))
		}
		if err := p.validate(); err != nil {
			return err
		}
		endpoints = append(endpoints, httpd.Endpoint{Pattern: p.Path})
	}
	if err := httpd.CheckPatterns(&c.Config, endpoints); err != nil {
		return component.Invalid("paths", "%v", err)
	}
	return c.Intake.Validate()
}

func (p *Path) validate() error {
	if strings.ContainsAny(p.Path, " \t") {
		return component.Invalid("paths", "the path %q holds a blank", p.Path)
	}
	for label, from := range p.LabelsFrom {
		origin, name, _ := strings.Cut(from, ":")
		ok := label != ""
		switch {
		case from == "client":
		case origin == "header":
			ok = ok && httpguts.ValidHeaderFieldName(name)
		case origin == "query":
			ok = ok && name != ""
		case origin == "path":
			ok = ok && name != "" && (strings.Contains(p.Path, "{"+name+"}") || strings.Contains(p.Path, "{"+name+"...}"))
		default:
			ok = false
		}
		if !ok {
			return component.Invalid("paths", "labels_from of %s: %q: %q is none of path:NAME with {NAME} in the path, header:NAME, query:NAME, client", p.Path, label, from)
		}
	}
	return nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "http",
		Summary:  "Records sent over HTTP: lines, NDJSON, JSON arrays, MessagePack, and Loki's push API.",
		Delivery: "at least once (from its journal, with a key for each request: exactly once)",
		Description: "Listens for POST requests, with or without TLS, of HTTP/1.1 and HTTP/2. A request is answered with 2xx once its records are safe: with " +
			"`intake: journal`, when they are synced to disk; with `intake: direct` and `ack: checkpoint`, when a checkpoint holds them. While the pipeline is full, requests " +
			"are answered with 429 and Retry-After, and nothing of them was taken. A request whose body is not sound is refused as a whole, with 400 and the place.\n\n" +
			"A client that gets no answer sends its request again, and then its records may count twice. A key that the request brings in the header `Idempotency-Key` " +
			"prevents that (`repeats`): the keys are kept in the journal with the records, so it holds through a crash. Loki's push API drops what is pushed twice, so " +
			"requests to a path of `format: loki` are known by their bodies.\n\n" +
			"Bodies may be compressed with gzip, zstd, deflate or snappy. Vector's sinks `http` and `loki`, Fluent Bit's outputs `http`, in any of its formats, " +
			"and `loki`, Logstash's output `http`, Promtail and Grafana's agents can send as they are. `decode: {preset: vector}` and its kin " +
			"find the line in their JSON. Paths whose records need another `decode` go to a source of their own.\n\n" +
			"Labels of Loki's streams are labels of the lines, and structured metadata are headers of the record: `decode: {labels_from: {pod: header:pod}}` makes one a label. " +
			"The time of a Loki entry, and of an event of Fluent Bit's in MessagePack, is the record's time.",
		Example: "listen: [\"127.0.0.1:8080\"]\nauth: {tokens: [{name: web, key_file: /etc/sluice/http.tokens}]}\nintake: direct\npaths:\n" +
			"  - {path: \"/logs/{app}\", labels_from: {type: \"path:app\"}}\n  - {path: /loki/api/v1/push, format: loki}\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
