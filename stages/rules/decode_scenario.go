package rules

import (
	"github.com/goccy/go-yaml/ast"
)

// The keys of each mapping of a scenario file: those of CrowdSec, and
// author, which its hub's index knows.
var (
	scenarioKeys = []string{"name", "description", "author", "references", "format", "version", "debug", "usage", "type", "filter",
		"groupby", "distinct", "cancel_on", "overflow_filter", "condition", "capacity", "leakspeed", "duration", "blackhole",
		"cache_size", "reprocess", "scope", "labels", "data", "bayesian_prior", "bayesian_threshold", "bayesian_conditions"}
	scopeKeys    = []string{"type", "expression"}
	bayesianKeys = []string{"condition", "prob_given_evil", "prob_given_benign", "guillotine"}
)

// scenario reads one document of a scenario file.
func (d *decoder) scenario(body ast.Node) *Scenario {
	s := &Scenario{Pos: d.pos(body)}
	at := map[string]Pos{} // of the keys that are there
	d.fields(body, "a scenario", scenarioKeys, func(key string, v ast.Node) {
		at[key] = d.pos(v)
		if !d.expressionOf(s, key, v) && !d.bucketOf(s, key, v) {
			d.describe(s, key, v)
		}
	})
	d.checkScenario(s, at)
	s.Hash = s.hash()
	return s
}

// expressionOf reads the keys that hold expressions.
func (d *decoder) expressionOf(s *Scenario, key string, v ast.Node) bool {
	switch key {
	case "filter":
		s.Filter = d.text(v, key)
	case "groupby":
		s.GroupBy = d.text(v, key)
	case "distinct":
		s.Distinct = d.text(v, key)
	case "cancel_on":
		s.CancelOn = d.text(v, key)
	case "overflow_filter":
		s.OverflowFilter = d.text(v, key)
	case "condition":
		s.Condition = d.text(v, key)
	case "scope":
		d.fields(v, "scope", scopeKeys, func(key string, v ast.Node) {
			if key == "type" {
				s.ScopeType = d.str(v, key)
				return
			}
			s.ScopeExpr = d.text(v, key)
		})
	case "bayesian_conditions":
		d.list(v, key, func(one ast.Node) { s.BayesianConditions = append(s.BayesianConditions, d.bayesian(one)) })
	default:
		return false
	}
	return true
}

// bucketOf reads the keys that hold the bucket's figures.
func (d *decoder) bucketOf(s *Scenario, key string, v ast.Node) bool {
	switch key {
	case "type":
		s.Type = d.str(v, key)
	case "capacity":
		s.Capacity = d.integer(v, key)
	case "leakspeed":
		s.LeakSpeed = d.duration(v, key)
	case "duration":
		s.Duration = d.duration(v, key)
	case "blackhole":
		s.Blackhole = d.duration(v, key)
	case "cache_size":
		s.CacheSize = d.integer(v, key)
	case "reprocess":
		s.Reprocess = d.boolean(v, key)
	case "bayesian_prior":
		s.BayesianPrior = d.float(v, key)
	case "bayesian_threshold":
		s.BayesianThreshold = d.float(v, key)
	default:
		return false
	}
	return true
}

// describe reads the keys that decide nothing.
func (d *decoder) describe(s *Scenario, key string, v ast.Node) {
	switch key {
	case "name":
		s.Name = d.str(v, key)
		d.rule = s.Name
	case "description":
		s.Description = d.str(v, key)
	case "author":
		s.Author = d.str(v, key)
	case "format":
		s.Format = d.str(v, key)
	case "version":
		s.Version = d.str(v, key)
	case "debug":
		s.Debug = d.boolean(v, key)
	case "references":
		s.References = d.strs(v, key)
	case "labels":
		s.Labels = map[string]any{}
		for _, mv := range d.pairs(v, key) {
			s.Labels[keyText(mv)] = d.value(mv.Value)
		}
	case "data":
		s.Data = d.data(v)
	}
}

func (d *decoder) bayesian(one ast.Node) BayesianCondition {
	c := BayesianCondition{Pos: d.pos(one)}
	d.fields(one, "an entry of bayesian_conditions", bayesianKeys, func(key string, v ast.Node) {
		switch key {
		case "condition":
			c.Condition = d.text(v, key)
		case "prob_given_evil":
			c.ProbGivenEvil = d.float(v, key)
		case "prob_given_benign":
			c.ProbGivenBenign = d.float(v, key)
		case "guillotine":
			c.Guillotine = d.boolean(v, key)
		}
	})
	if c.Condition.Value == "" {
		d.fail(c.Pos, "an entry of bayesian_conditions needs a condition")
	}
	return c
}
