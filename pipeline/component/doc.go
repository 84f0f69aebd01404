// Package component is how sources and sinks announce themselves and read
// their configuration.
//
// A component is one folder. It declares a Kind: its type's name, prose and an
// example for the reference page, a configuration struct with its defaults,
// and a constructor. Registering the kind from an init that does nothing else
// makes it usable by a blank import of the folder; nothing else changes.
//
// In a configuration file a component is one mapping:
//
//	type: kafka          # which kind; required
//	name: edge           # what metrics and positions call it; the type when absent
//	brokers: [a:9092]    # the kind's own keys, decoded strictly
//
// A key that the kind does not know is an error with its line, its column and
// the key that was probably meant.
package component
