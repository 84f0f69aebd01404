// Package expression compiles the expressions of rules against a schema.
//
//	c := expression.NewCompiler(schema, data, expression.Options{})
//	p, err := c.Compile(`evt.Parsed.program == 'sshd'`) // err is an *Error with line and column
//	ok, err := p.Bool(&expression.Context{Event: ev})
//
// Compile is for parser nodes, CompileFilter for scenarios (the event no
// longer changes, so shared sub-expressions are computed once), CompileQueue
// for what a bucket asks of its queue, CompileView for alert contexts,
// profiles and assertions.
//
// There are two ways through. The fast one (fast.go and its kin) turns what it
// understands of an expression into closures over slots, and runs conditions
// that it does not understand on expr's VM where they stand, on a tree that
// patch.go has rewritten so that evt.Parsed.x reads a slot. The plain one,
// Options.Reference, runs the whole source on the VM over a pipeline.View. It
// is what the other must equal, in value, in failure, and in what is written:
// TestHubExpressionsEqualReference, TestCompiledEqualsReference, FuzzCompile
// and FuzzCompiled hold them together. normalise.go repeats what expr's
// optimizer does where that can be noticed.
//
// Analysis says what a program reads, writes and needs, and which conditions
// must hold for it to be true, so that package match can index filters.
//
// # Non-obvious
//
//   - A conjunct that does not hold means that the program is false and wrote
//     nothing: conjuncts end at the first part that writes or touches a stash.
//   - A let's value is computed where it is used, again each time: it has no
//     effects, and what can fail is also run once where it stands.
//   - What lies below evt.Unmarshaled may be of any type. The closures know
//     strings; for other types the VM runs the same condition again.
//   - The lines of data files become part of programs when they compile, so
//     the files are loaded first.
package expression
