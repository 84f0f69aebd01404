// Package parse runs the hub's parser nodes on events: filters, whitelists,
// grok, stashes, sub-nodes and statics, stage by stage. Postoverflow nodes
// run on alerts in the same way.
//
// Compile turns nodes into a Pipeline, which is immutable. Each goroutine has
// a Runner, which holds the scratch memory:
//
//	p, errs := parse.Compile(set.Parsers, parse.Options{…})
//	r := p.NewRunner()
//	outcome := r.Run(ctx, nil) // ctx.Event is the event
//
// Where to look:
//
//   - compile.go, compile_parts.go: from rules.Node to node, with errors that
//     point into the rule file
//   - target.go: the fields that a static or a grok can name by a path
//   - run.go: the stages and what moves an event through them (FIDELITY 1, 2)
//   - node.go, method.go: what one node does, in order (FIDELITY 3 to 7)
//   - index.go: which top-level nodes of a stage need not be looked at
//   - observe.go: what `test` and `explain` see; the same code runs with and
//     without an observer
//   - stash.go, arc.go: the memory of one source partition (FIDELITY 13);
//     stashstate.go: how it is written into the state store
//
// Non-obvious:
//
//   - A node's filter runs at most once an event and in order, also when the
//     index could do without: filters may write (FIDELITY 9). The index leaves
//     out only nodes whose filter cannot be true and would end before it writes.
//   - With an observer every node is tried, so that its failure is recorded.
//   - A node that touches a stash calls BeforeOrdered only once its filter
//     held, unless the filter itself reads the stash.
package parse
