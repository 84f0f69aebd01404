package http

import (
	"strconv"
	"time"

	"sluice/pipeline"
	"sluice/sources/internal/httpd"
)

// json reads {"streams": [{"stream": {LABELS}, "values": [["NANOSECONDS", "LINE", {METADATA}], …]}, …]}.
func (p *push) json(body []byte) error {
	if len(body) == 0 {
		return httpd.Malformed("the body is empty")
	}
	if err := httpd.CheckJSON(body); err != nil {
		return httpd.Malformed("the body: %v", err)
	}
	found := false
	ok, err := httpd.Members(body, func(key, value []byte) error {
		if string(key) != "streams" {
			return nil
		}
		found = true
		if isNull(value) { // how some clients write none
			return nil
		}
		if ok, err := httpd.Elements(value, p.jsonStream); err != nil || ok {
			return err
		}
		return httpd.Malformed("streams is no array")
	})
	switch {
	case err != nil:
		return err
	case !ok || !found:
		return httpd.Malformed(`the body is no object with "streams"`)
	}
	return nil
}

func isNull(value []byte) bool { return string(value) == "null" }

func (p *push) jsonStream(stream []byte) error {
	g, err := p.stream()
	if err != nil {
		return err
	}
	ok, err := httpd.Members(stream, func(key, value []byte) error {
		switch string(key) {
		case "stream":
			p.entries = 0
			if isNull(value) {
				return nil
			}
			labels := make(map[string]string)
			ok, err := httpd.Members(value, func(name, value []byte) error {
				text, ok := httpd.Text(value)
				if !ok || len(labels) == maxLabels {
					return p.bad("a label is no string, or there are more than %d", maxLabels)
				}
				labels[string(name)] = string(text)
				return nil
			})
			if err != nil {
				return err
			}
			if !ok {
				return p.bad("its labels are no object")
			}
			return g.SetLabels(labels)
		case "values":
			if isNull(value) {
				return nil
			}
			ok, err := httpd.Elements(value, func(entry []byte) error { return p.jsonEntry(g, entry) })
			if err == nil && !ok {
				err = p.bad("values is no array")
			}
			return err
		}
		return nil
	})
	if err == nil && !ok {
		err = p.bad("it is no object")
	}
	return err
}

// jsonEntry reads one of the values.
func (p *push) jsonEntry(g *httpd.Group, entry []byte) error {
	p.entries++
	var at time.Time
	var line []byte
	var metadata []pipeline.Header
	n := 0
	ok, err := httpd.Elements(entry, func(value []byte) error {
		n++
		switch n {
		case 1:
			text, ok := httpd.Text(value)
			nanoseconds, err := strconv.ParseInt(string(text), 10, 64)
			if !ok || err != nil {
				return p.bad("its time is no string of nanoseconds since 1970")
			}
			at = time.Unix(0, nanoseconds)
		case 2:
			text, ok := httpd.Text(value)
			if !ok {
				return p.bad("its line is no string")
			}
			line = text
			if alias := len(text)+2 == len(value); !alias { // it had escapes, so it lies somewhere else
				return p.Batch.Reserve(len(text))
			}
		case 3:
			var err error
			metadata, err = p.jsonMetadata(value)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !ok || n < 2 {
		return p.bad("it is no array of a time and a line")
	}
	return p.add(g, at, line, metadata)
}

func (p *push) jsonMetadata(value []byte) (out []pipeline.Header, err error) {
	ok, err := httpd.Members(value, func(name, value []byte) error {
		text, ok := httpd.Text(value)
		if !ok || len(out) == maxMetadata {
			return p.bad("metadata is no string, or there is more than %d of it", maxMetadata)
		}
		out = append(out, pipeline.Header{Key: string(name), Value: text})
		if alias := len(text)+2 == len(value); !alias {
			return p.Batch.Reserve(len(text))
		}
		return nil
	})
	if err == nil && !ok {
		err = p.bad("its metadata is no object")
	}
	return out, err
}
