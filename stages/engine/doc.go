// Package engine assembles the stages: it compiles a rule set into parsers,
// matcher, detector, alert builder and profiles, and makes the graph that
// runs them.
//
//	set, err := rules.Load(…)
//	eng, errs := engine.Compile(set, engine.Options{})
//	graph, err := eng.Graph(engine.GraphOptions{Workers: 2, Shards: 4, Deliver: …})
//	go graph.Run(ctx)
//	graph.Emit(ctx, batch)
package engine
