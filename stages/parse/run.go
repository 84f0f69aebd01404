package parse

import (
	"context"
	"net/netip"

	"sluice/pipeline"
	"sluice/stages/enrich"
	"sluice/stages/expression"
	"sluice/stages/grok"
)

// Outcome is what became of an event.
type Outcome uint8

// The outcomes.
const (
	// Parsed events finished every stage.
	Parsed Outcome = iota
	// Unparsed events got stuck in a stage (FIDELITY 2).
	Unparsed
	// Whitelisted events finished every stage, and are not to be poured (FIDELITY 6).
	Whitelisted
	// Aborted events met a static of a type that cannot be written
	// (FIDELITY 7); AbortReason says where.
	Aborted
)

// String names the outcome as metrics do.
func (o Outcome) String() string {
	return [...]string{"parsed", "unparsed", "whitelisted", "aborted"}[o]
}

// Stats counts what went wrong without ending an event.
type Stats struct {
	FilterErrors  uint64 // filters and whitelists that failed, and so were false
	StaticErrors  uint64 // expressions of statics, groks and stashes that failed
	EnrichErrors  uint64 // methods whose file or resolver failed
	OrderedEvents uint64 // events that waited for their turn at a stash
}

// Runner runs a Pipeline. It belongs to one goroutine.
type Runner struct {
	// BeforeOrdered, when set, is called at most once an event, before the
	// first node that touches a stash does so. It waits for the event's turn
	// and puts the partition's stashes into the expression.Context.
	BeforeOrdered func()
	// Stats counts since the Runner was made; the caller may reset it.
	Stats Stats

	p        *Pipeline
	enrich   *enrich.Runner
	scratch  grok.Scratch
	captures []string
	words    []uint64 // candidates of the running stage
	sourceIP pipeline.Slot

	// Of the running event:
	ctx         *expression.Context
	ev          *pipeline.Event
	obs         Observer
	stage       int // index of the stage that the event is in
	waited      bool
	sourceText  string // evt.Meta.source_ip as it was parsed last, for whitelists
	source      netip.Addr
	sourceOK    bool
	abortReason string
	abortErr    error
}

// NewRunner returns a Runner for one goroutine. All rules of the schema must
// have been compiled.
func (p *Pipeline) NewRunner() *Runner {
	return &Runner{
		p: p, enrich: p.opts.Enrich.NewRunner(), captures: make([]string, p.captures),
		sourceIP: p.opts.Schema.Lookup(pipeline.Meta, "source_ip"),
	}
}

// SetContext bounds the look-ups of reverse_dns.
func (r *Runner) SetContext(ctx context.Context) { r.enrich.Context = ctx }

// AbortReason says why the last event was Aborted. It is one of a bounded
// number of texts, to count by.
func (r *Runner) AbortReason() string { return r.abortReason }

// AbortError is AbortReason with the cause of the last event.
func (r *Runner) AbortError() error { return r.abortErr }

// Run takes the event of ctx through the stages. obs may be nil.
func (r *Runner) Run(ctx *expression.Context, obs Observer) Outcome {
	r.ctx, r.ev, r.obs = ctx, ctx.Event, obs
	r.stage, r.waited, r.abortReason, r.abortErr = 0, false, "", nil
	outcome := r.run()
	r.ctx, r.ev, r.obs, r.sourceText = nil, nil, nil, ""
	clear(r.captures) // they alias the line
	return outcome
}

func (r *Runner) run() Outcome {
	for i := range r.p.stages {
		switch {
		case r.stage > i: // moved beyond this stage by more than one node
			continue
		case r.stage < i:
			return Unparsed
		}
		ok, done := r.runStage(i)
		if !done {
			return Aborted
		}
		if !ok {
			return Unparsed
		}
	}
	if r.ev.Whitelisted {
		return Whitelisted
	}
	return Parsed
}

// runStage runs the nodes of a stage until one moves the event on. ok tells
// whether one succeeded, done is false when the event was aborted.
func (r *Runner) runStage(i int) (ok, done bool) {
	st := &r.p.stages[i]
	all := r.obs != nil || r.p.opts.Reference
	if !all {
		r.words = st.index.candidates(r.ev, r.words)
	}
	for k := 0; k < len(st.nodes); k++ {
		if !all {
			if k = nextCandidate(r.words, k); k >= len(st.nodes) {
				break
			}
		}
		n := st.nodes[k]
		success, entered := r.node(n)
		if r.abortReason != "" {
			return ok, false
		}
		ok = ok || success
		if success && n.next || r.stage != i {
			break
		}
		if entered && !all {
			r.words = st.index.candidates(r.ev, r.words) // it may have written what the index reads
		}
	}
	return ok, true
}

// moveOn puts the event into the next stage, if there is one.
func (r *Runner) moveOn(n *node) {
	if r.stage+1 == len(r.p.stages) {
		return
	}
	r.stage++
	r.observe(n, Observation{Kind: Moved, Value: r.p.stages[r.stage].name})
}

// turn waits, once an event, until the lines before it have left the stashes.
func (r *Runner) turn() {
	if r.waited {
		return
	}
	r.waited = true
	r.Stats.OrderedEvents++
	if r.BeforeOrdered != nil {
		r.BeforeOrdered()
	}
}

func (r *Runner) observe(n *node, o Observation) {
	if r.obs != nil {
		r.obs.Observe(&n.info, o)
	}
}
