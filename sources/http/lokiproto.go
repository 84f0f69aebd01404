package http

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/pipeline"
	"sluice/sources/internal/httpd"
)

// The messages of a push, as logproto's push.proto defines them:
//
//	PushRequest  streams=1: Stream
//	Stream       labels=1: string such as {app="a"}, entries=2: Entry, hash=3
//	Entry        timestamp=1: Timestamp, line=2: string, structuredMetadata=3: LabelPair, parsed=4: LabelPair
//	Timestamp    seconds=1, nanos=2
//	LabelPair    name=1, value=2

// proto reads a PushRequest. Lines alias the body.
func (p *push) proto(body []byte) error {
	return p.fields(body, func(number protowire.Number, value []byte, _ uint64) error {
		if number == 1 && value != nil {
			return p.protoStream(value)
		}
		return nil
	})
}

// fields calls do with every field of a message: with the bytes of one that has a length, or with the number of a varint.
func (p *push) fields(message []byte, do func(number protowire.Number, value []byte, varint uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return p.wire(n)
		}
		message = message[n:]
		var value []byte
		var varint uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
			value = value[:len(value):len(value)]
			if n >= 0 && value == nil {
				value = []byte{}
			}
		case protowire.VarintType:
			varint, n = protowire.ConsumeVarint(message)
		default: // of a field that nobody knows
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return p.wire(n)
		}
		message = message[n:]
		if err := do(number, value, varint); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) wire(n int) error {
	if p.streams == 0 {
		return httpd.Malformed("the body is no protobuf: %v", protowire.ParseError(n))
	}
	return p.bad("it is no protobuf: %v", protowire.ParseError(n))
}

func (p *push) protoStream(stream []byte) error {
	g, err := p.stream()
	if err != nil {
		return err
	}
	return p.fields(stream, func(number protowire.Number, value []byte, _ uint64) error {
		switch {
		case value == nil:
		case number == 1:
			labels, err := parseSelector(string(value))
			if err != nil {
				return p.bad("its labels %.200q: %v", value, err)
			}
			return g.SetLabels(labels)
		case number == 2:
			return p.protoEntry(g, value)
		}
		return nil
	})
}

func (p *push) protoEntry(g *httpd.Group, entry []byte) error {
	p.entries++
	var at time.Time
	var line []byte
	var metadata []pipeline.Header
	err := p.fields(entry, func(number protowire.Number, value []byte, _ uint64) (err error) {
		switch {
		case value == nil:
		case number == 1:
			at, err = p.protoTime(value)
		case number == 2:
			line = value
		case number == 3:
			metadata, err = p.protoMetadata(metadata, value)
		}
		return err
	})
	if err != nil {
		return err
	}
	if at.IsZero() {
		at = p.Batch.Now()
	}
	if line == nil {
		line = []byte{}
	}
	return p.add(g, at, line, metadata)
}

func (p *push) protoTime(message []byte) (time.Time, error) {
	var seconds int64
	var nanos int32
	err := p.fields(message, func(number protowire.Number, value []byte, varint uint64) error {
		switch {
		case value != nil:
		case number == 1:
			seconds = int64(varint)
		case number == 2:
			nanos = int32(varint)
		}
		return nil
	})
	if err == nil && (nanos < 0 || nanos >= 1e9) {
		err = p.bad("the nanoseconds of its time are not between 0 and 999999999")
	}
	if limit := latest.Unix(); err == nil && (seconds > limit || seconds < -limit) {
		err = p.bad("its time is out of all bounds")
	}
	return time.Unix(seconds, int64(nanos)), err
}

func (p *push) protoMetadata(to []pipeline.Header, message []byte) ([]pipeline.Header, error) {
	if len(to) == maxMetadata {
		return to, p.bad("it has more metadata than %d", maxMetadata)
	}
	var name, text []byte
	err := p.fields(message, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			name = value
		case 2:
			text = value
		}
		return nil
	})
	if err == nil && !utf8.Valid(name) {
		err = p.bad("a name of its metadata is no UTF-8")
	}
	return append(to, pipeline.Header{Key: string(name), Value: text}), err
}
