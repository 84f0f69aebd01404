package hubtest

import (
	"maps"
	"strings"

	"sluice/pipeline"
	"sluice/stages/parse"
)

// recorder writes down what each top-level node made of each event that reached it.
type recorder struct{ test *test }

// Enter implements parse.Observer.
func (r *recorder) Enter(*parse.Node) {}

// Observe implements parse.Observer.
func (r *recorder) Observe(*parse.Node, parse.Observation) {}

// Leave implements parse.Observer.
func (r *recorder) Leave(n *parse.Node, ev *pipeline.Event, success bool) {
	if n.Depth > 0 {
		return
	}
	view := *ev.View()
	view.Unmarshaled = maps.Clone(view.Unmarshaled)
	own(&view)
	r.test.mu.Lock()
	defer r.test.mu.Unlock()
	r.test.parsers.add(n.Stage, n.Name, ParserResult{Evt: view, Success: success})
}

// own copies the view's texts, which alias the line: views outlive it.
func own(v *pipeline.View) {
	for _, m := range []map[string]string{v.Parsed, v.Meta, v.Enriched, v.Line.Labels} {
		for k, s := range m {
			m[k] = strings.Clone(s)
		}
	}
	for _, s := range []*string{&v.Line.Raw, &v.Line.Src, &v.Line.Module, &v.StrTime, &v.StrTimeFormat, &v.MarshaledTime, &v.WhitelistReason} {
		*s = strings.Clone(*s)
	}
}
