package rules

import (
	"path/filepath"
	"slices"
)

// What CrowdSec demands of a rule before it runs it, checked while the
// places are known. Expressions and patterns are checked by those who compile them.

// checkNode wants a name of top-level nodes, by which results are told,
// and of every node that it does something.
func (d *decoder) checkNode(n *Node, top bool, read int) {
	if d.spent || read == 0 && len(d.errs) > 0 { // nothing was read: enough is said
		return
	}
	if top && n.Name == "" {
		d.fail(n.Pos, "the parser has no name")
	}
	listed := n.Whitelist != nil && len(n.Whitelist.IPs)+len(n.Whitelist.CIDRs)+len(n.Whitelist.Expressions) > 0
	if n.Grok == nil && len(n.Statics)+len(n.Nodes) == 0 && !listed {
		d.fail(n.Pos, "the node does nothing: it has no grok, statics, nodes or whitelist entries")
	}
}

func (d *decoder) checkGrok(g *Grok) {
	if g.ApplyOn.Value == "" && g.Expression.Value == "" {
		d.fail(g.Pos, "grok needs apply_on (a field) or expression: what it is matched against")
	}
	if g.Name.Value == "" && g.Pattern.Value == "" {
		d.fail(g.Pos, "grok needs pattern, or the name of a pattern of the library")
	}
}

func (d *decoder) checkStatic(s *Static) {
	if s.Method == "" && s.Meta == "" && s.Parsed == "" && s.Enriched == "" && s.Target == "" {
		d.fail(s.Pos, "the static writes nowhere: it needs meta, parsed, enriched, target or method")
	}
	if s.Value.Value == "" && s.Expression.Value == "" {
		d.fail(s.Pos, "the static has nothing to write: it needs value or expression")
	}
}

func (d *decoder) checkStash(s *Stash, ttlSet bool) {
	missing := func(key string) { d.fail(s.Pos, "the stash needs %s", key) }
	if s.Name == "" {
		missing("name")
	}
	if s.Key.Value == "" {
		missing("key")
	}
	if s.Value.Value == "" {
		missing("value")
	}
	if !ttlSet {
		missing("ttl")
	}
	if s.Size < 0 {
		d.fail(s.Pos, "the stash's size must not be negative, and is %d", s.Size)
	}
}

// checkData keeps data files inside their folder and normalizes the type.
func (d *decoder) checkData(e *Data) {
	types := []string{"string", "regexp", "map", "bots"}
	switch {
	case e.DestFile == "":
		d.fail(e.Pos, "an entry of data needs dest_file, the name by which expressions call it")
	case !filepath.IsLocal(e.DestFile):
		d.fail(e.Pos, "dest_file %q must stay below the data folder", cut(e.DestFile, 60))
	}
	if e.Type == "regex" { // CrowdSec takes both spellings
		e.Type = "regexp"
	}
	if e.Type != "" && !slices.Contains(types, e.Type) {
		d.fail(e.Pos, "type of a data file must be string, regexp, map or bots, not %q", cut(e.Type, 60)).Suggestion = nearest(e.Type, types)
	}
	if e.Size < 0 {
		d.fail(e.Pos, "size must not be negative, and is %d", e.Size)
	}
}

// checkScenario holds the rules common to all types, then the type's own.
// at holds the places of the keys that are there.
func (d *decoder) checkScenario(s *Scenario, at map[string]Pos) {
	if d.spent || len(at) == 0 && len(d.errs) > 0 { // nothing was read: enough is said
		return
	}
	if s.Name == "" {
		d.fail(s.Pos, "the scenario has no name")
	}
	if s.Filter.Value == "" {
		d.fail(s.Pos, "the scenario has no filter")
	}
	if s.CacheSize < 0 {
		d.fail(at["cache_size"], "cache_size must not be negative, and is %d", s.CacheSize)
	}
	d.checkScope(s, at)
	_, typed := at["type"]
	switch s.Type {
	case "leaky":
		d.checkLeaky(s, at)
	case "trigger":
		if s.Capacity != 0 {
			d.fail(at["capacity"], "a trigger overflows at its first event: it takes no capacity, and has %d", s.Capacity)
		}
	case "counter":
		d.checkCounter(s, at)
	case "conditional":
		if s.Condition.Value == "" {
			d.fail(s.Pos, "a conditional bucket needs condition")
		}
		d.needLeak(s, at)
	case "bayesian":
		d.checkBayesian(s, at)
	default:
		types := []string{"leaky", "trigger", "counter", "conditional", "bayesian"}
		if !typed {
			d.fail(s.Pos, "the scenario has no type: leaky, trigger, counter, conditional or bayesian")
			break
		}
		d.fail(at["type"], "type must be leaky, trigger, counter, conditional or bayesian, not %q", cut(s.Type, 60)).Suggestion = nearest(s.Type, types)
	}
}

func (d *decoder) checkScope(s *Scenario, at map[string]Pos) {
	has := s.ScopeExpr.Value != ""
	switch s.ScopeType {
	case "", "Ip":
		if has {
			d.fail(s.ScopeExpr.Pos, "scope Ip takes no expression: its value is evt.Meta.source_ip")
		}
	case "Range":
	default:
		if !has {
			d.fail(at["scope"], "scope %q needs an expression that gives its value", cut(s.ScopeType, 60))
		}
	}
}

// needLeak wants a leakspeed above zero.
func (d *decoder) needLeak(s *Scenario, at map[string]Pos) {
	pos, ok := at["leakspeed"]
	switch {
	case !ok:
		d.fail(s.Pos, "a %s bucket needs leakspeed", s.Type)
	case s.LeakSpeed <= 0 && !d.faultAt(pos):
		d.fail(pos, "leakspeed must be above zero")
	}
}

// faultAt tells whether something is already said about a line.
func (d *decoder) faultAt(pos Pos) bool {
	return slices.ContainsFunc(d.errs, func(e *Error) bool { return e.Pos.Line == pos.Line })
}

func (d *decoder) checkLeaky(s *Scenario, at map[string]Pos) {
	pos, ok := at["capacity"]
	switch {
	case !ok:
		d.fail(s.Pos, "a leaky bucket needs capacity")
	case s.Capacity <= 0 && !d.faultAt(pos):
		d.fail(pos, "the capacity of a leaky bucket must be above zero, and is %d", s.Capacity)
	}
	d.needLeak(s, at)
}

func (d *decoder) checkCounter(s *Scenario, at map[string]Pos) {
	if s.Capacity != -1 {
		pos, ok := at["capacity"]
		if !ok {
			pos = s.Pos
		}
		d.fail(pos, "the capacity of a counter must be -1, and is %d", s.Capacity)
	}
	pos, ok := at["duration"]
	switch {
	case !ok:
		d.fail(s.Pos, "a counter needs duration")
	case s.Duration <= 0 && !d.faultAt(pos):
		d.fail(pos, "duration must be above zero")
	}
}

func (d *decoder) checkBayesian(s *Scenario, at map[string]Pos) {
	place := func(key string) Pos {
		if pos, ok := at[key]; ok {
			return pos
		}
		return s.Pos
	}
	if len(s.BayesianConditions) == 0 {
		d.fail(place("bayesian_conditions"), "a bayesian bucket needs bayesian_conditions")
	}
	if !(s.BayesianPrior > 0 && s.BayesianPrior <= 1) {
		d.fail(place("bayesian_prior"), "bayesian_prior must be above 0 and at most 1, and is %v", s.BayesianPrior)
	}
	if !(s.BayesianThreshold > 0 && s.BayesianThreshold <= 1) {
		d.fail(place("bayesian_threshold"), "bayesian_threshold must be above 0 and at most 1, and is %v", s.BayesianThreshold)
	}
	if s.Capacity != -1 {
		d.fail(place("capacity"), "the capacity of a bayesian bucket must be -1, and is %d", s.Capacity)
	}
}
