package mqtt

import (
	"maps"

	"sluice/pipeline"
)

// headerTopic is the header of each record that holds its topic.
const headerTopic = "topic"

// Bounds of what is remembered of topics.
const (
	maxRoutes     = 1 << 16
	maxRouteBytes = 16 << 20
)

// labelSet is labels that runs of records share; the pointer tells sets apart.
type labelSet struct{ values map[string]string }

// route is what is known of a topic.
type route struct {
	topic   string
	labels  *labelSet // nil: no filter matches the topic
	headers []pipeline.Header
}

// pattern is a filter and the labels of its lines.
type pattern struct {
	filter
	qos   byte
	fixed *labelSet
	named bool // some levels become labels
}

// router finds what belongs to a topic, and remembers it. It is one goroutine's.
type router struct {
	patterns []pattern
	routes   map[string]*route
	bytes    int
}

// newRouter needs a valid configuration.
func newRouter(c *Config) (*router, error) {
	r := &router{routes: make(map[string]*route)}
	for _, s := range c.Subscriptions {
		f, err := parseFilter(s.Filter)
		if err != nil {
			return nil, err
		}
		p := pattern{filter: f, qos: byte(s.QoS), fixed: &labelSet{maps.Clone(c.Labels)}}
		if p.fixed.values == nil {
			p.fixed.values = make(map[string]string)
		}
		maps.Copy(p.fixed.values, s.Labels)
		for _, l := range f.levels {
			p.named = p.named || l.name != ""
		}
		r.patterns = append(r.patterns, p)
	}
	return r, nil
}

// find returns the route of a topic: that of the first filter that matches.
func (r *router) find(topic []byte) *route {
	if found, ok := r.routes[string(topic)]; ok {
		return found
	}
	if len(r.routes) >= maxRoutes || r.bytes+len(topic) > maxRouteBytes {
		clear(r.routes) // there are more topics than it pays to remember
		r.bytes = 0
	}
	text := string(topic)
	out := &route{topic: text, headers: []pipeline.Header{{Key: headerTopic, Value: []byte(text)}}}
	for i := range r.patterns {
		if out.labels = r.patterns[i].labels(text); out.labels != nil {
			break
		}
	}
	r.routes[text] = out
	r.bytes += len(text)
	return out
}

// labels returns the labels of a topic's lines, nil when the filter does not match it.
func (p *pattern) labels(topic string) *labelSet {
	if !p.named {
		if p.match(topic, nil) {
			return p.fixed
		}
		return nil
	}
	values := maps.Clone(p.fixed.values)
	if !p.match(topic, func(name, value string) { values[name] = value }) {
		return nil
	}
	return &labelSet{values}
}
