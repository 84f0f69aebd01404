package parse

import (
	"sluice/pipeline"
	"sluice/stages/enrich"
)

// call runs a static's method. Only ParseDate takes an empty value.
func (r *Runner) call(n *node, s *static, value string) {
	if value == "" && s.method != enrich.ParseDate {
		return
	}
	var before map[string]string
	if r.obs != nil {
		before = enriched(r.ev)
	}
	if err := r.enrich.Call(s.method, r.ev, value); err != nil {
		r.Stats.EnrichErrors++
		r.observe(n, Observation{Kind: Problem, Text: s.by, Err: err})
	}
	if r.obs == nil {
		return
	}
	r.ev.Each(pipeline.Enriched, func(name, now string) {
		if was, had := before[name]; !had || was != now {
			r.observe(n, Observation{Kind: Wrote, Field: "evt.Enriched." + name, Value: now, Text: s.by})
		}
	})
}

func enriched(ev *pipeline.Event) map[string]string {
	m := make(map[string]string)
	ev.Each(pipeline.Enriched, func(name, value string) { m[name] = value })
	return m
}
