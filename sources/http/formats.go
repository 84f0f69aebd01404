package http

import (
	"maps"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"sluice/sources"
	"sluice/sources/internal/httpd"
)

// New makes the source. Nothing is opened before Run.
func New(name string, c Config, env sources.Env) (*httpd.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return httpd.New(name, "http", c.Config, c.Intake, c.endpoints(), env)
}

func (c *Config) endpoints() []httpd.Endpoint {
	endpoints := make([]httpd.Endpoint, len(c.Paths))
	for i := range c.Paths {
		p := &c.Paths[i]
		labels := maps.Clone(c.Labels)
		if labels == nil {
			labels = make(map[string]string)
		}
		maps.Copy(labels, p.Labels)
		read := p.reader()
		endpoints[i] = httpd.Endpoint{
			Pattern: p.Path, Clients: p.Clients, NoContent: p.Format == formatLoki,
			Read: func(r *httpd.Request) error {
				var err error
				if r.Labels, err = p.labels(r, labels); err != nil {
					return err
				}
				return read(r)
			},
		}
		if p.Format == formatLoki {
			endpoints[i].Block, endpoints[i].OnceByBody = typeProtobuf, true
		}
	}
	return endpoints
}

// reader returns what makes records of the path's bodies.
func (p *Path) reader() func(*httpd.Request) error {
	switch p.Format {
	case formatLines:
		return (*httpd.Request).Lines
	case formatNDJSON:
		return (*httpd.Request).NDJSON
	case formatJSON:
		return (*httpd.Request).JSON
	case formatMsgpack:
		return readMsgpack
	case formatBody:
		return (*httpd.Request).One
	case formatLoki:
		return readLoki
	}
	return readAuto
}

// readAuto goes by the content type.
func readAuto(r *httpd.Request) error {
	switch t := r.ContentType; {
	case t == "application/x-ndjson", t == "application/ndjson", t == "application/jsonl", t == "application/x-jsonlines",
		t == "application/jsonlines", t == "application/x-json-stream", t == "application/json-lines":
		return r.NDJSON()
	case t == "application/json", t == "text/json", strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"):
		return r.JSON()
	case t == "", strings.HasPrefix(t, "text/"), t == "application/octet-stream":
		return r.Lines()
	case isMsgpack(t):
		return readMsgpack(r)
	case t == typeProtobuf:
		return httpd.Unsupported("protobuf is taken at paths of format loki")
	default:
		return httpd.Unsupported("the content type %.100q is none of text/plain, application/x-ndjson, application/json, application/msgpack; send one of these, or set the format of the path", t)
	}
}

func isMsgpack(kind string) bool {
	return kind == "application/msgpack" || kind == "application/x-msgpack" || kind == "application/vnd.msgpack"
}

// maxLabel is how long a label's value from outside may be.
const maxLabel = 4 << 10

// labels returns the labels of a request's records.
func (p *Path) labels(r *httpd.Request, base map[string]string) (map[string]string, error) {
	if len(p.LabelsFrom) == 0 {
		return base, nil
	}
	out := maps.Clone(base)
	for label, from := range p.LabelsFrom {
		value, ok := "", false
		switch origin, name, _ := strings.Cut(from, ":"); origin {
		case "client":
			value, ok = r.Client, r.Client != ""
		case "path":
			value = r.HTTP.PathValue(name)
			ok = value != ""
		case "query":
			ok = r.HTTP.URL.Query().Has(name)
			value = r.HTTP.URL.Query().Get(name)
		case "header":
			if all := r.HTTP.Header[textproto.CanonicalMIMEHeaderKey(name)]; len(all) > 0 {
				value, ok = all[0], true
			}
		}
		if !ok {
			continue
		}
		if len(value) > maxLabel || !utf8.ValidString(value) {
			return nil, httpd.Malformed("%s, for the label %s, is longer than %d bytes or no UTF-8", from, label, maxLabel)
		}
		out[label] = value
	}
	return out, nil
}
