package hubtest

import (
	"sort"
	"strings"

	"sluice/pipeline"
)

// ParserResult is what became of one event at one top-level node.
type ParserResult struct {
	Evt     pipeline.View
	Success bool
}

// ParserResults are indexed by stage and the node's YAML name, in order of arrival.
type ParserResults map[string]map[string][]ParserResult

func newParserResults() ParserResults {
	// CrowdSec's dump always has this key, and tests count it (FIDELITY 28).
	return ParserResults{"success": {"": {}}}
}

func (r ParserResults) add(stage, name string, res ParserResult) {
	if r[stage] == nil {
		r[stage] = make(map[string][]ParserResult)
	}
	r[stage][name] = append(r[stage][name], res)
}

// BucketResults are the overflows after postoverflow, the whitelisted included.
type BucketResults []pipeline.View

// Len, Less and Swap sort descending by scenario and sources. The sort is
// CrowdSec's, which is not stable: with equal keys its very algorithm decides
// the order that assertions expect (FIDELITY 29).
func (r BucketResults) Len() int      { return len(r) }
func (r BucketResults) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r BucketResults) Less(i, j int) bool {
	return resultKey(&r[i]) > resultKey(&r[j])
}

func resultKey(v *pipeline.View) string {
	return v.Overflow.Alert.Scenario + strings.Join(v.Overflow.GetSources(), "@")
}

// sorted puts the results in the order in which assertions see them.
func (r BucketResults) sorted() BucketResults {
	sort.Sort(r)
	return r
}
