package docker

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// chosen tells whether a container is read, and the labels of its lines.
func (c *Config) chosen(k *container) (labels map[string]string, ok bool) {
	labels = c.Labels
	if c.UseContainerLabels && k.Labels[c.ContainerLabelPrefix+".enable"] == "true" {
		labels, ok = maps.Clone(c.Labels), true
		if labels == nil {
			labels = make(map[string]string)
		}
		for name, value := range k.Labels {
			if label, is := strings.CutPrefix(name, c.ContainerLabelPrefix+".labels."); is && label != "" {
				labels[label] = value
			}
		}
	}
	return labels, ok || c.named(k) || c.labelled(k)
}

func (c *Config) named(k *container) bool {
	name := k.name()
	return slices.Contains(c.ContainerName, name) ||
		slices.ContainsFunc(c.ContainerID, func(id string) bool { return strings.HasPrefix(k.ID, id) }) ||
		slices.ContainsFunc(c.names, func(r *regexp.Regexp) bool { return r.MatchString(name) }) ||
		slices.ContainsFunc(c.ids, func(r *regexp.Regexp) bool { return r.MatchString(k.ID) })
}

func (c *Config) labelled(k *container) bool {
	for name, value := range c.ContainerLabels {
		if have, ok := k.Labels[name]; !ok || value != "" && have != value {
			return false
		}
	}
	return len(c.ContainerLabels) > 0
}
