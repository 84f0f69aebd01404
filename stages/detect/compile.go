package detect

import (
	"errors"
	"fmt"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// Options configure a Detector.
type Options struct {
	// BuildSignal makes the alert that overflow_filter reads as signal; nil gives none.
	BuildSignal func(*pipeline.Overflow) *pipeline.RuntimeAlert
	// MaxDistinct bounds a bucket's set of distinct values; 100,000 when 0.
	// Beyond it values are not remembered, pour, and are counted.
	MaxDistinct int
}

// kind is a scenario's type.
type kind uint8

const (
	leaky kind = iota
	trigger
	counter
	conditional
	bayesian
)

var kinds = map[string]kind{
	"leaky": leaky, "trigger": trigger, "counter": counter, "conditional": conditional, "bayesian": bayesian,
}

// document is a compiled scenario document.
type document struct {
	name  string
	group int32 // documents of one name and filter share buckets (FIDELITY 14)
	kind  kind
	skip  bool // it did not compile

	rate      rate
	unlimited bool // capacity -1: every event is accepted
	// room is how many events the queue keeps before the oldest goes; it
	// holds room+1 (FIDELITY 18). Below 0 there is no bound.
	room int
	// life is how long a bucket lives after its last pour; of a counter, after its first.
	life      time.Duration
	blackhole time.Duration
	capacity  int
	distinct  bool
	cancel    bool
	scope     bool

	condition      *expression.QueueProgram
	overflowFilter *expression.QueueProgram
	bayes          []bayesCondition
	prior          float32
	threshold      float32
}

type bayesCondition struct {
	program      *expression.QueueProgram
	evil, benign float32
	guillotine   bool
}

// Detector is the compiled scenarios: immutable, for any number of shards.
type Detector struct {
	opts Options
	docs []document
}

// Compile compiles the documents, whose index is the one that pours carry. A
// document that is at fault is left out and reported.
func Compile(scenarios []*rules.Scenario, c *expression.Compiler, o Options) (*Detector, []error) {
	if o.MaxDistinct == 0 {
		o.MaxDistinct = 100_000
	}
	d := &Detector{opts: o, docs: make([]document, len(scenarios))}
	type identity struct{ name, filter string }
	groups := make(map[identity]int32)
	var errs []error
	for i, sc := range scenarios {
		doc, err := compile(sc, c)
		if err != nil {
			errs = append(errs, err)
			doc.skip = true
		}
		id := identity{sc.Name, sc.Filter.Value}
		group, ok := groups[id]
		if !ok {
			group = int32(len(groups))
			groups[id] = group
		}
		doc.group = group
		d.docs[i] = doc
	}
	return d, errs
}

func compile(sc *rules.Scenario, c *expression.Compiler) (document, error) {
	k, ok := kinds[sc.Type]
	if !ok {
		return document{}, rules.NewError(sc.Pos, sc.Name, fmt.Sprintf("there is no bucket type %q", sc.Type), "")
	}
	doc := document{
		name: sc.Name, kind: k, blackhole: sc.Blackhole, capacity: sc.Capacity,
		distinct: sc.Distinct.Set, cancel: sc.CancelOn.Set, scope: sc.ScopeExpr.Set,
		prior: sc.BayesianPrior, threshold: sc.BayesianThreshold,
		unlimited: sc.Capacity < 0 || k == conditional || k == bayesian || k == counter,
		room:      room(sc),
		life:      life(k, sc),
	}
	if !doc.unlimited && k == leaky {
		doc.rate = newRate(sc.LeakSpeed, sc.Capacity)
	}
	var errs []error
	program := func(what string, t rules.Text) *expression.QueueProgram {
		if !t.Set || t.Value == "" {
			return nil
		}
		p, err := c.CompileQueue(t.Value)
		if err != nil {
			errs = append(errs, placed(sc, what, t, err))
		}
		return p
	}
	doc.condition = program("condition", sc.Condition)
	doc.overflowFilter = program("overflow_filter", sc.OverflowFilter)
	for _, b := range sc.BayesianConditions {
		doc.bayes = append(doc.bayes, bayesCondition{
			program: program("bayesian condition", b.Condition),
			evil:    b.ProbGivenEvil, benign: b.ProbGivenBenign, guillotine: b.Guillotine,
		})
	}
	return doc, errors.Join(errs...)
}

func placed(sc *rules.Scenario, what string, t rules.Text, err error) error {
	var bad *expression.Error
	if errors.As(err, &bad) {
		return rules.NewError(t.At(bad.Line, bad.Column), sc.Name, what+": "+bad.Message, bad.Suggestion)
	}
	return rules.NewError(t.Pos, sc.Name, fmt.Sprintf("%s: %v", what, err), "")
}

func room(sc *rules.Scenario) int {
	if sc.CacheSize > 0 && (sc.CacheSize <= sc.Capacity || sc.Capacity < 0) {
		return sc.CacheSize
	}
	return sc.Capacity
}

// life is FIDELITY 17.
func life(k kind, sc *rules.Scenario) time.Duration {
	switch {
	case k == conditional || k == bayesian:
		return sc.LeakSpeed
	case sc.Duration != 0:
		return sc.Duration
	case sc.Capacity > 0:
		return time.Duration(sc.Capacity+1) * sc.LeakSpeed
	}
	return 0
}

// AddReads adds what the buckets' expressions read of kept events to a KeepSet.
func (d *Detector) AddReads(set *pipeline.KeepSet) {
	add := func(p *expression.QueueProgram) {
		if p == nil {
			return
		}
		a := p.Analysis()
		set.Slots = append(set.Slots, a.Reads...)
		set.Unmarshaled = set.Unmarshaled || a.ReadsUnmarshaled
		set.Whole = set.Whole || a.ReadsWhole
	}
	for i := range d.docs {
		add(d.docs[i].condition)
		add(d.docs[i].overflowFilter)
		for _, b := range d.docs[i].bayes {
			add(b.program)
		}
	}
}
