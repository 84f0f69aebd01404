package reference

import (
	"fmt"
	"regexp"
	"strings"
)

// yamlWidth is how long the lines of comments are, at most.
const yamlWidth = 100

// YAML returns a configuration to start from: the kind's example, and below
// it every key as a comment, with its meaning, type and default. What begins
// with "# " is prose; without the # of lines that begin otherwise, as in
// "#key: value", the keys and defaults themselves are left.
func (k *Kind) YAML() []byte {
	var w yamlWriter
	head := k.Summary
	if k.Delivery != "" {
		head += "\n\nDelivery: " + k.Delivery + "."
	}
	w.prose(0, head+"\n\n"+k.Description)
	if k.Common != nil {
		w.line(0, "type: "+k.Type)
	}
	w.b.WriteString(strings.TrimSpace(k.Example) + "\n")
	w.line(0, "")
	w.prose(0, "Every key, with its default. Those that the example sets are above.")
	w.keys(0, k.Keys)
	if len(k.Common) > 1 {
		w.line(0, "")
		w.prose(0, fmt.Sprintf("Keys of every %s.", k.Noun))
		for i := range k.Common {
			if k.Common[i].Name != "type" {
				w.key(0, &k.Common[i])
			}
		}
	}
	return []byte(w.b.String())
}

type yamlWriter struct{ b strings.Builder }

func (w *yamlWriter) line(indent int, text string) {
	if text != "" {
		w.b.WriteString(strings.Repeat(" ", indent))
	}
	w.b.WriteString(text + "\n")
}

func (w *yamlWriter) prose(indent int, text string) {
	for _, l := range wrap(text, yamlWidth-indent) {
		w.line(indent, strings.TrimSpace("# "+l))
	}
}

func (w *yamlWriter) keys(indent int, keys []Key) {
	for i := range keys {
		w.key(indent, &keys[i])
	}
}

func (w *yamlWriter) key(indent int, k *Key) {
	if indent == 0 {
		w.line(0, "")
	}
	kind := k.Type
	if k.Required {
		kind += ", required"
	}
	w.prose(indent, fmt.Sprintf("%s (%s)", k.Text, kind))
	switch {
	case k.Keys == nil:
		w.line(indent, "#"+k.Name+": "+yamlValue(k))
	case strings.HasPrefix(k.Type, "list of"):
		w.line(indent, "#"+k.Name+":")
		w.line(indent+2, "#-")
		w.keys(indent+4, k.Keys)
	case strings.HasPrefix(k.Type, "map of"):
		w.line(indent, "#"+k.Name+":")
		w.line(indent+2, "#NAME:")
		w.keys(indent+4, k.Keys)
	default:
		w.line(indent, "#"+k.Name+":")
		w.keys(indent+2, k.Keys)
	}
}

func yamlValue(k *Key) string {
	switch {
	case k.Default != "" && strings.HasPrefix(k.Type, "list of"):
		return k.Default
	case k.Default != "":
		if k.Type == "string" {
			return scalar(k.Default)
		}
		return k.Default
	case strings.HasPrefix(k.Type, "list of"):
		return "[]"
	case strings.HasPrefix(k.Type, "map of"):
		return "{}"
	case k.Type == "string":
		return `""`
	}
	return "null"
}

// plain is text that YAML reads as the text that it is.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./:-]*[A-Za-z0-9_/]$`)

func scalar(text string) string {
	switch text {
	case "true", "false", "null", "yes", "no", "on", "off":
	default:
		if plain.MatchString(text) {
			return text
		}
	}
	return fmt.Sprintf("%q", text)
}
