package parse

import (
	"sluice/pipeline"
	"sluice/stages/rules"
)

// Node describes a compiled node to an Observer. The pointer is the same for
// all events and runners of a Pipeline.
type Node struct {
	// Stage is the folder of the top-level node's stage.
	Stage string
	// Name is the YAML name, "" for most sub-nodes.
	Name string
	// Depth is 0 for a top-level node.
	Depth int
	// Index is the place among the nodes of the same parent, from 0; among
	// all top-level nodes for those.
	Index int
	// Filter is the filter's text, "" without one.
	Filter string
	Pos    rules.Pos
}

// Kind says what an Observation is about.
type Kind uint8

// The kinds of observation, in the order in which a node makes them.
const (
	// FilterFalse: the filter did not hold; Err is set when it failed.
	FilterFalse Kind = iota
	// WhitelistHit: the event is whitelisted; Value is the reason.
	WhitelistHit
	// WhitelistMiss: the node has a whitelist and the event is not on it.
	WhitelistMiss
	// GrokMatched: the pattern (Text) matched; the captures follow as Wrote.
	GrokMatched
	// GrokFailed: the pattern (Text) did not match, or what it applies to is absent.
	GrokFailed
	// Stashed: Value was stored in the stash Text under the key Field.
	Stashed
	// Wrote: Field was set to Value; Text says by what: grok, static or a method's name.
	Wrote
	// Problem: a static, a method or a stash failed with Err; the node goes on.
	Problem
	// StaticsSkipped: the node's own statics did not run, since it failed or its whitelist missed.
	StaticsSkipped
	// Moved: the event leaves for the stage Value.
	Moved
	// EventAborted: the event ends here with Err (FIDELITY 7); the node is not left.
	EventAborted
)

// Observation is something that happened in a node.
type Observation struct {
	Kind  Kind
	Field string // such as evt.Meta.source_ip
	Value string
	Text  string
	Err   error
}

// Observer sees what happens to an event. Its calls nest: between Enter and
// Leave of a node come its observations and its sub-nodes. Strings of an
// observation and the event itself are only valid during the call.
type Observer interface {
	// Enter is called for every node that the event reached, before its filter.
	Enter(n *Node)
	// Observe is called for what happens in the node entered last.
	Observe(n *Node, o Observation)
	// Leave is called when the node is done, with the event as it is then.
	// success is the node's own state, false too for a filter that did not
	// hold. It is not called for nodes in which the event was aborted. The
	// hub's parser results are these calls for nodes of depth 0 (FIDELITY 28).
	Leave(n *Node, ev *pipeline.Event, success bool)
}
