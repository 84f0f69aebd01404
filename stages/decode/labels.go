package decode

import (
	"maps"
	"slices"
	"strings"

	"sluice/pipeline"
)

// labelPlan is where labels come from, compiled.
type labelPlan struct {
	static  []LabelValue
	topic   []LabelValue // Value is not used
	key     []LabelValue
	headers []headerLabel
	fields  []fieldLabel
	types   map[string]string
	typ     pipeline.Slot // of the label `type`
}

type headerLabel struct {
	LabelValue
	header string
}

type fieldLabel struct {
	LabelValue
	path int
}

func planLabels(c *Config, schema *pipeline.Schema, paths *pathPlan) labelPlan {
	slot := func(name string) pipeline.Slot { return schema.Slot(pipeline.Label, name) }
	p := labelPlan{types: c.TypeMap, typ: slot("type")}
	static := maps.Clone(c.Labels)
	if c.Type != "" {
		if static == nil {
			static = make(map[string]string)
		}
		static["type"] = c.Type
	}
	for _, name := range slices.Sorted(maps.Keys(static)) {
		p.static = append(p.static, LabelValue{slot(name), name, static[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(c.LabelsFrom)) {
		label := LabelValue{Slot: slot(name), Name: name}
		switch origin, arg, _ := strings.Cut(c.LabelsFrom[name], ":"); origin {
		case "topic":
			p.topic = append(p.topic, label)
		case "key":
			p.key = append(p.key, label)
		case "header":
			p.headers = append(p.headers, headerLabel{label, arg})
		case "field":
			p.fields = append(p.fields, fieldLabel{label, paths.add(arg)})
		}
	}
	return p
}

// set puts a label into the list, over one of the same name. Empty values set nothing.
func set(labels []LabelValue, l LabelValue) []LabelValue {
	if l.Value == "" {
		return labels
	}
	for i := range labels {
		if labels[i].Name == l.Name {
			labels[i].Value = l.Value
			return labels
		}
	}
	return append(labels, l)
}

// batchLabels computes the labels that all lines of a batch have.
func (r *Reader) batchLabels(batch *pipeline.RecordBatch) {
	p := &r.d.labels
	r.fixed = append(r.fixed[:0], p.static...)
	start := len(r.fixed)
	for name, value := range batch.Labels {
		slot := r.d.schema.Lookup(pipeline.Label, name)
		r.fixed = set(r.fixed, LabelValue{slot, name, value})
	}
	// A map's order is random; a line's labels are not.
	slices.SortFunc(r.fixed[start:], func(a, b LabelValue) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range p.topic {
		l.Value = batch.Partition.Topic
		r.fixed = set(r.fixed, l)
	}
	r.labels = append(r.labels[:0], r.fixed...)
	r.translateType()
}

// recordLabels adds the labels of one record to those of its batch.
func (r *Reader) recordLabels(rec *pipeline.Record) {
	p := &r.d.labels
	if len(p.key) == 0 && len(p.headers) == 0 && len(p.fields) == 0 {
		return // the batch's labels are all there are
	}
	r.record = append(r.record[:0], r.fixed...)
	for _, l := range p.key {
		l.Value = alias(rec.Key)
		r.record = set(r.record, l)
	}
	for _, h := range p.headers {
		for i := range rec.Headers {
			if rec.Headers[i].Key == h.header {
				h.Value = alias(rec.Headers[i].Value)
			}
		}
		r.record = set(r.record, h.LabelValue)
	}
	r.labels = append(r.labels[:0], r.record...)
	r.translateType()
}

// lineLabels adds the labels of one envelope to those of its record.
func (r *Reader) lineLabels() *Error {
	p := &r.d.labels
	if len(p.fields) == 0 {
		return nil
	}
	r.labels = append(r.labels[:0], r.record...)
	for _, f := range p.fields {
		s := r.found[f.path]
		if s.kind == kindNone || s.kind == kindNull {
			continue
		}
		text, err := r.text(s)
		if err != nil {
			return err
		}
		f.Value = alias(text)
		r.labels = set(r.labels, f.LabelValue)
	}
	r.translateType()
	return nil
}

// translateType maps the value of the label `type`.
func (r *Reader) translateType() {
	if len(r.d.labels.types) == 0 {
		return
	}
	for i := range r.labels {
		if r.labels[i].Slot == r.d.labels.typ {
			if to, ok := r.d.labels.types[r.labels[i].Value]; ok {
				r.labels[i].Value = to
			}
			return
		}
	}
}
