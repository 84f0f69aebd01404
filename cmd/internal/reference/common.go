package reference

import (
	"sluice/sinks/outbox"
	"sluice/stages/decode"
)

// SourceKeys are the keys of every source, beside those of its kind.
type SourceKeys struct {
	// Type is the kind of source.
	Type string `yaml:"type"`
	// Name is what logs and metrics call the source, and the source in an alert's positions. Left
	// empty it is the type; two sources need two names, and with durable state the name must stay.
	Name string `yaml:"name"`
	// Decode says what is inside a record, and which labels its lines have. The label `type` matters
	// most: parsers ask for it.
	Decode decode.Config `yaml:"decode"`
}

// SinkKeys are the keys of every sink, beside those of its kind.
type SinkKeys struct {
	// Type is the kind of sink.
	Type string `yaml:"type"`
	// Name is what profiles and logs call the sink. Left empty it is the type; two sinks need two names.
	Name string `yaml:"name"`
	// OnFull is what happens when more than `outbox.quota` waits for the sink. `block`: reading waits for it.
	// `dead_letter`: its oldest alerts go to the dead letters. `drop_oldest`: they are dropped and counted.
	OnFull string `yaml:"on_full"`
	// When is an expression over `Alert`, as the filters of profiles are, such as `Alert.GetScenario() startsWith 'acme/' && !Alert.Simulated`:
	// alerts for which it does not hold are not addressed to the sink. Left empty, all are.
	When string `yaml:"when"`
	// Retry says how the sink is asked again when it does not take alerts.
	Retry outbox.Retry `yaml:"retry"`
	// Batching says how alerts are gathered for the sink. Sinks with keys of their own for that, such as s3, do not have it.
	Batching outbox.Batching `yaml:"batching"`
}
