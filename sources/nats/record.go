package nats

import (
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline"
)

// record makes a record of a message. The message's memory is its own, so nothing is copied but the subject.
func record(m jetstream.Msg, md *jetstream.MsgMetadata) pipeline.Record {
	return pipeline.Record{
		Value: m.Data(), Key: []byte(m.Subject()), Headers: headers(m.Headers()),
		Offset: int64(md.Sequence.Stream), Time: md.Timestamp,
	}
}

// headers returns a message's headers sorted by name; one of several values is there several times.
func headers(from nats.Header) (out []pipeline.Header) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		for _, value := range from[name] {
			out = append(out, pipeline.Header{Key: name, Value: []byte(value)})
		}
	}
	return out
}
