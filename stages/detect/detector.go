package detect

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

// Options configure a Detector.
type Options struct {
	// BuildSignal makes the alert that an overflow_filter reads as signal.
	// It is called only for filters that name signal; without it, and where
	// it returns nil, signal is an alert that knows its key alone.
	BuildSignal func(*pipeline.Overflow) *pipeline.RuntimeAlert
	// MaxDistinct bounds the distinct values that a bucket remembers; 100,000
	// when 0. Values beyond it pour, are not remembered, and are counted.
	MaxDistinct int
	// MaxQueue bounds the events of a bucket without a capacity or cache_size
	// of its own, as conditional ones have; 100,000 when 0. The oldest leave
	// first, and are counted.
	MaxQueue int
}

// kind is the type of a scenario.
type kind uint8

const (
	leaky kind = iota
	trigger
	counter
	conditional
	bayesian
)

var kinds = map[string]kind{
	"leaky": leaky, "trigger": trigger, "counter": counter,
	"conditional": conditional, "bayesian": bayesian,
}

// document is a compiled scenario document.
type document struct {
	name   string
	filter string
	// group numbers the pairs of name and filter: documents of a group share
	// buckets, those that one of them pours into the others pour into again (FIDELITY 14).
	group int32
	// shared: the group has another document.
	shared bool
	kind   kind
	// instant: every document of the group is a trigger, so that there is never a bucket.
	instant bool
	// broken: the document did not compile.
	broken bool

	capacity int
	// limited: events beyond the rate make it overflow.
	limited bool
	rate    rate
	// keep is how many events the queue holds (FIDELITY 18); bounded is set
	// when that is the engine's bound and not the scenario's.
	keep    int
	bounded bool
	// life is how long a bucket lives after its last poured event, or, when
	// timed, how long after its first one it overflows (FIDELITY 17).
	life      time.Duration
	timed     bool
	blackhole time.Duration
	distinct  bool
	cancel    bool
	scope     bool // there is a scope expression

	condition      *queueProgram
	overflowFilter *queueProgram
	bayes          []bayesCondition
	prior          float32
	threshold      float32
}

type bayesCondition struct {
	program      *queueProgram
	evil, benign float32
	guillotine   bool
}

// queueProgram is a bucket's expression and the names that it uses, so that
// the others need not be built.
type queueProgram struct {
	*expression.QueueProgram
	evt, queue, signal bool
}

// Detector is the compiled scenarios. It is immutable: any number of shards may use it.
type Detector struct {
	opts Options
	docs []document
	ids  []pipeline.ScenarioID
}

// ScenarioIDs are the scenarios as a KeptCoder wants to know them.
func (d *Detector) ScenarioIDs() []pipeline.ScenarioID { return d.ids }

// Compile compiles the documents; pours name them by their index. A document
// that is at fault is reported with its place and left out: its pours are
// dropped and counted.
func Compile(scenarios []*rules.Scenario, c *expression.Compiler, o Options) (*Detector, []error) {
	if o.MaxDistinct == 0 {
		o.MaxDistinct = 100_000
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = 100_000
	}
	d := &Detector{opts: o, docs: make([]document, len(scenarios))}
	type identity struct{ name, filter string }
	groups := make(map[identity][]int)
	order := make(map[identity]int32)
	var errs []error
	for i, sc := range scenarios {
		compiler := docCompiler{scenario: sc, compiler: c}
		d.docs[i] = compiler.compile(o)
		d.docs[i].broken = len(compiler.errs) > 0
		errs = append(errs, compiler.errs...)
		id := identity{sc.Name, sc.Filter.Value}
		if _, known := order[id]; !known {
			order[id] = int32(len(order))
		}
		d.docs[i].group = order[id]
		groups[id] = append(groups[id], i)
	}
	d.ids = scenarioIDs(scenarios)
	for _, members := range groups {
		instant := true
		for _, i := range members {
			instant = instant && d.docs[i].kind == trigger
		}
		for _, i := range members {
			d.docs[i].shared, d.docs[i].instant = len(members) > 1, instant
		}
	}
	return d, errs
}

// scenarioIDs names the groups by their filters without what formats them, so
// that buckets outlive a filter that is only written otherwise. Where that
// would make one of two groups, they keep their filters as they are.
func scenarioIDs(scenarios []*rules.Scenario) []pipeline.ScenarioID {
	ids := make([]pipeline.ScenarioID, len(scenarios))
	filters := make(map[[2]string]string)
	ambiguous := make(map[[2]string]bool)
	for i, sc := range scenarios {
		ids[i] = pipeline.ScenarioID{Name: sc.Name, Filter: sc.PlainFilter(), Hash: sc.Hash}
		group := [2]string{sc.Name, ids[i].Filter}
		if other, known := filters[group]; known && other != sc.Filter.Value {
			ambiguous[group] = true
		}
		filters[group] = sc.Filter.Value
	}
	for i := range ids {
		if ambiguous[[2]string{ids[i].Name, ids[i].Filter}] {
			ids[i].Filter = scenarios[i].Filter.Value
		}
	}
	return ids
}

// docCompiler compiles one document and gathers what is wrong with it.
type docCompiler struct {
	scenario *rules.Scenario
	compiler *expression.Compiler
	errs     []error
}

func (c *docCompiler) compile(o Options) document {
	sc := c.scenario
	k, known := kinds[sc.Type]
	if !known {
		c.errs = append(c.errs, rules.NewError(sc.Pos, sc.Name, fmt.Sprintf("there is no bucket type %q", sc.Type), ""))
	}
	d := document{
		name: sc.Name, filter: sc.Filter.Value, kind: k,
		capacity:  sc.Capacity,
		limited:   sc.Capacity >= 0 && k != conditional && k != trigger,
		blackhole: sc.Blackhole,
		timed:     sc.Duration > 0 && k != trigger,
		scope:     sc.ScopeExpr.Value != "",
		prior:     sc.BayesianPrior, threshold: sc.BayesianThreshold,
	}
	if d.limited {
		d.rate = every(sc.LeakSpeed, sc.Capacity)
	}
	d.life = lifeTime(sc, k)
	d.keep, d.bounded = queueSize(sc, o.MaxQueue)
	d.condition = c.program("condition", sc.Condition)
	d.overflowFilter = c.program("overflow_filter", sc.OverflowFilter)
	if sc.BayesianThreshold != 0 {
		for _, b := range sc.BayesianConditions {
			d.bayes = append(d.bayes, bayesCondition{
				program: c.program("bayesian condition", b.Condition),
				evil:    b.ProbGivenEvil, benign: b.ProbGivenBenign, guillotine: b.Guillotine,
			})
		}
	}
	if k == trigger { // FIDELITY 19: these have to compile, and are ignored
		d.condition, d.bayes = nil, nil
	} else {
		d.distinct, d.cancel = sc.Distinct.Value != "", sc.CancelOn.Value != ""
	}
	return d
}

// lifeTime is FIDELITY 17.
func lifeTime(sc *rules.Scenario, k kind) time.Duration {
	switch {
	case k == conditional || k == bayesian:
		return sc.LeakSpeed
	case sc.Duration > 0:
		return sc.Duration
	case sc.Capacity > 0 && sc.LeakSpeed > 0:
		if sc.LeakSpeed > math.MaxInt64/time.Duration(sc.Capacity+1) {
			return math.MaxInt64
		}
		return time.Duration(sc.Capacity+1) * sc.LeakSpeed
	}
	return 0
}

// queueSize is FIDELITY 18, with a bound where the scenario has none.
func queueSize(sc *rules.Scenario, most int) (keep int, bounded bool) {
	switch {
	case sc.CacheSize > 0 && (sc.CacheSize <= sc.Capacity || sc.Capacity < 0):
		return sc.CacheSize + 1, false
	case sc.Capacity < 0:
		return most, true
	}
	return sc.Capacity + 1, false
}

func (c *docCompiler) program(part string, t rules.Text) *queueProgram {
	if t.Value == "" {
		return nil
	}
	p, err := c.compiler.CompileQueue(t.Value)
	if err != nil {
		c.errs = append(c.errs, c.placed(part, t, err))
		return nil
	}
	q := &queueProgram{QueueProgram: p, evt: true, queue: true, signal: true}
	if tree, err := parser.Parse(t.Value); err == nil {
		names := make(nameSet)
		ast.Walk(&tree.Node, names)
		q.evt, q.queue, q.signal = names["evt"], names["queue"], names["signal"]
		if names["$env"] {
			q.evt, q.queue, q.signal = true, true, true
		}
	}
	return q
}

// placed puts an expression's error into its rule file.
func (c *docCompiler) placed(part string, t rules.Text, err error) error {
	var e *expression.Error
	if errors.As(err, &e) {
		return rules.NewError(t.At(e.Line, e.Column), c.scenario.Name, part+": "+e.Message, e.Suggestion)
	}
	return rules.NewError(t.Pos, c.scenario.Name, part+": "+err.Error(), "")
}

// nameSet gathers the identifiers of a tree.
type nameSet map[string]bool

// Visit implements ast.Visitor.
func (s nameSet) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok {
		s[id.Value] = true
	}
}

// AddReads adds what the buckets' expressions read of the events that they
// keep to a KeepSet.
func (d *Detector) AddReads(set *pipeline.KeepSet) {
	for i := range d.docs {
		doc := &d.docs[i]
		doc.condition.addReads(set)
		doc.overflowFilter.addReads(set)
		for _, b := range doc.bayes {
			b.program.addReads(set)
		}
	}
}

func (p *queueProgram) addReads(set *pipeline.KeepSet) {
	if p == nil {
		return
	}
	a := p.Analysis()
	set.Slots = append(set.Slots, a.Reads...)
	set.Unmarshaled = set.Unmarshaled || a.ReadsUnmarshaled
	set.Whole = set.Whole || a.ReadsWhole
}
