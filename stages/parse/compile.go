package parse

import (
	"slices"

	"sluice/pipeline"
	"sluice/stages/enrich"
	"sluice/stages/expression"
	"sluice/stages/grok"
	"sluice/stages/rules"
)

// Options are what nodes are compiled with.
type Options struct {
	// Schema gets the fields that the nodes name.
	Schema   *pipeline.Schema
	Compiler *expression.Compiler
	// Library is the base of every file's patterns; it is not added to.
	Library *grok.Library
	// Enrich holds the methods of statics; nil has none of the files that they read.
	Enrich *enrich.Set
	// Reference matches with the standard regexp and tries every node: the oracle.
	Reference bool
}

// Pipeline is compiled nodes: immutable, for any number of goroutines.
type Pipeline struct {
	opts     Options
	stages   []stage
	stashes  []StashDef
	warnings []error
	// captures is the largest number of names of a pattern.
	captures int
	ordered  bool
}

// stage is a folder of top-level nodes, in the order in which they run.
type stage struct {
	name  string
	nodes []*node
	index index
}

// Compile compiles nodes that are in the order of their stages and files
// (FIDELITY 1). A node that does not compile is left out with all its
// sub-nodes, and reported as one *rules.Error for each fault; the caller
// decides whether to go on without it.
func Compile(nodes []*rules.Node, o Options) (*Pipeline, []error) {
	if o.Enrich == nil {
		o.Enrich = enrich.WithoutFiles(o.Schema)
	}
	p := &Pipeline{opts: o}
	c := &compiler{Options: o, pipeline: p, libraries: make(map[string]*grok.Library), programs: make(map[string]*expression.Program)}
	for i, src := range nodes {
		if len(p.stages) == 0 || p.stages[len(p.stages)-1].name != src.Stage {
			p.stages = append(p.stages, stage{name: src.Stage})
		}
		c.rule, c.stage = src.Name, src.Stage
		before := len(c.errs)
		n := c.node(src, i, 0)
		if len(c.errs) > before {
			continue
		}
		st := &p.stages[len(p.stages)-1]
		st.nodes = append(st.nodes, n)
		p.ordered = p.ordered || n.ordered
	}
	// Stages are those of the nodes that are left.
	p.stages = slices.DeleteFunc(p.stages, func(s stage) bool { return len(s.nodes) == 0 })
	for i := range p.stages {
		p.stages[i].index = newIndex(p.stages[i].nodes, c)
	}
	return p, c.errs
}

// Ordered tells whether some node touches a stash, so that the lines of a
// partition must pass it in order.
func (p *Pipeline) Ordered() bool { return p.ordered }

// Stages returns the names of the stages, in order.
func (p *Pipeline) Stages() []string {
	out := make([]string, len(p.stages))
	for i := range p.stages {
		out[i] = p.stages[i].name
	}
	return out
}

// Warnings are statics that can never write, because nothing has the name of
// their target. CrowdSec loads such rules and ignores the static; so do we.
func (p *Pipeline) Warnings() []error { return p.warnings }

// NewStashes returns the empty stashes of one source partition.
func (p *Pipeline) NewStashes() *Stashes { return NewStashes(p.stashes) }

// node is a compiled node.
type node struct {
	info      Node
	filter    *expression.Program
	whitelist *whitelist
	grok      *grokStep
	stashes   []stash
	children  []*node
	statics   []static
	next      bool // onsuccess: next_stage
	// ordered: the node or one below touches a stash; stashFilter: its own filter does.
	ordered, stashFilter bool
}

// compiler holds what is shared while nodes are compiled.
type compiler struct {
	Options
	pipeline  *Pipeline
	libraries map[string]*grok.Library // one for each file (FIDELITY 5)
	programs  map[string]*expression.Program
	errs      []error
	rule      string // name of the top-level node, for errors
	stage     string
	// stash: something compiled since it was last cleared touches a stash.
	stash bool
}

// node compiles a node and those below it.
func (c *compiler) node(src *rules.Node, index, depth int) *node {
	n := &node{next: src.OnSuccess == "next_stage"}
	n.info = Node{Stage: c.stage, Name: src.Name, Depth: depth, Index: index, Filter: src.Filter.Value, Pos: src.Pos}
	outer := c.stash
	c.stash = false
	n.filter = c.expression("filter", src.Filter)
	n.stashFilter = c.stash
	library := c.patterns(src)
	n.whitelist = c.whitelist(src.Whitelist)
	n.grok = c.grok(src.Grok, library)
	for i := range src.Stash {
		n.stashes = append(n.stashes, c.stashStep(&src.Stash[i]))
	}
	for i, child := range src.Nodes {
		n.children = append(n.children, c.node(child, i, depth+1))
	}
	n.statics = c.statics(src.Statics)
	n.ordered = c.stash
	c.stash = c.stash || outer
	return n
}

// fault reports an error at a place.
func (c *compiler) fault(pos rules.Pos, message, suggestion string) {
	c.errs = append(c.errs, rules.NewError(pos, c.rule, message, suggestion))
}
