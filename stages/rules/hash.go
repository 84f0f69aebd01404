package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// hash digests what decides detection: two scenarios with equal hashes
// overflow on the same events. Formatting, labels and descriptions do not count.
func (s *Scenario) hash() string {
	h := sha256.New()
	field := func(name, value string) {
		// Lengths keep neighbours apart.
		fmt.Fprintf(h, "%s %d ", name, len(value))
		io.WriteString(h, value)
	}
	number := func(name string, v any) { field(name, fmt.Sprint(v)) }
	field("type", s.Type)
	field("name", s.Name)
	field("filter", plain(s.Filter.Value))
	field("groupby", plain(s.GroupBy.Value))
	field("distinct", plain(s.Distinct.Value))
	field("cancel_on", plain(s.CancelOn.Value))
	field("overflow_filter", plain(s.OverflowFilter.Value))
	field("condition", plain(s.Condition.Value))
	number("capacity", s.Capacity)
	number("leakspeed", int64(s.LeakSpeed))
	number("duration", int64(s.Duration))
	number("blackhole", int64(s.Blackhole))
	number("cache_size", s.CacheSize)
	number("reprocess", s.Reprocess)
	scope := s.ScopeType
	if scope == "" {
		scope = "Ip"
	}
	field("scope", scope)
	field("scope_expression", plain(s.ScopeExpr.Value))
	number("bayesian_prior", s.BayesianPrior)
	number("bayesian_threshold", s.BayesianThreshold)
	for _, c := range s.BayesianConditions {
		field("bayesian_condition", plain(c.Condition.Value))
		number("prob_given_evil", c.ProbGivenEvil)
		number("prob_given_benign", c.ProbGivenBenign)
		number("guillotine", c.Guillotine)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// PlainFilter is the filter as the hash sees it: equal for filters that
// differ in line breaks and blanks only.
func (s *Scenario) PlainFilter() string { return plain(s.Filter.Value) }

// plain makes each run of blanks outside of quotes one space and trims the
// ends, so that folding an expression over lines does not change its hash.
func plain(expression string) string {
	var b strings.Builder
	b.Grow(len(expression))
	var quote byte
	blank := false
	for i := 0; i < len(expression); i++ {
		c := expression[i]
		if quote == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			blank = true
			continue
		}
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteByte(c)
		switch {
		case quote == 0 && (c == '\'' || c == '"' || c == '`'):
			quote = c
		case quote != 0 && c == '\\' && quote != '`' && i+1 < len(expression):
			i++
			b.WriteByte(expression[i])
		case c == quote:
			quote = 0
		}
	}
	return b.String()
}
