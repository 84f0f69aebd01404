package reference

import (
	"fmt"
	"strings"
)

// Page returns the page of a book in Markdown.
func (b *Builder) Page(book Book) ([]byte, error) {
	kinds, err := b.Build(book)
	if err != nil {
		return nil, err
	}
	common, err := b.Common(book)
	if err != nil {
		return nil, err
	}
	var w strings.Builder
	fmt.Fprintf(&w, "# %s\n\n<!-- Written by go generate ./cmd/sluice out of the source's comments. Do not edit. -->\n\n%s\n\n", book.Title, strings.TrimSpace(book.Introduction))
	w.WriteString(Body(book.Noun, "##", common, kinds))
	return []byte(strings.TrimRight(w.String(), "\n") + "\n"), nil
}

// Body writes a list of the kinds, the keys of all, and a section for each
// kind, with headings that begin at a level such as "##".
func Body(noun, level string, common []Key, kinds []Kind) string {
	var w strings.Builder
	w.WriteString("| " + noun + " | delivery | |\n|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(&w, "| [%s](#%s) | %s | %s |\n", k.Type, Anchor(k.heading()), cell(k.Delivery), cell(k.Summary))
	}
	w.WriteString("\n")
	if len(common) > 0 {
		fmt.Fprintf(&w, "%s Keys of every %s\n\n", level, noun)
		table(&w, noun, common)
		nested(&w, level+"#", noun, common)
	}
	for i := range kinds {
		kinds[i].section(&w, level)
	}
	return w.String()
}

// heading is unique within the page and beside the headings of nested tables.
func (k *Kind) heading() string { return k.Noun + " " + k.Type }

func (k *Kind) section(w *strings.Builder, level string) {
	fmt.Fprintf(w, "%s %s\n\n%s\n\n", level, k.heading(), k.Summary)
	if k.Delivery != "" {
		fmt.Fprintf(w, "Delivery: %s.\n\n", k.Delivery)
	}
	fmt.Fprintf(w, "%s\n\n```yaml\n", strings.TrimSpace(k.Description))
	if k.Common != nil {
		fmt.Fprintf(w, "type: %s\n", k.Type)
	}
	fmt.Fprintf(w, "%s\n```\n\n", strings.TrimSpace(k.Example))
	table(w, k.heading(), k.Keys)
	nested(w, level+"#", k.heading(), k.Keys)
}

func table(w *strings.Builder, owner string, keys []Key) {
	if len(keys) == 0 {
		return
	}
	w.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		value, text := "", cell(k.Text)
		if k.Default != "" {
			value = code(cell(strings.ReplaceAll(k.Default, "\n", `\n`))) // a line of a table is one line
		}
		if k.Required {
			text = "**Required.** " + text
		}
		if k.Keys != nil {
			text += fmt.Sprintf(" [Its keys](#%s).", Anchor(under(owner, k.Name)))
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, value, text)
	}
	w.WriteString("\n")
}

// nested writes a section for each key that holds a mapping.
func nested(w *strings.Builder, level, owner string, keys []Key) {
	for _, k := range keys {
		if k.Keys == nil {
			continue
		}
		heading := under(owner, k.Name)
		fmt.Fprintf(w, "%s %s\n\n", level, heading)
		table(w, heading, k.Keys)
		nested(w, level, heading, k.Keys)
	}
}

func under(owner, key string) string { return owner + ": " + key }

func cell(text string) string {
	text = strings.ReplaceAll(text, "|", "\\|")
	return strings.ReplaceAll(text, "\n\n", "<br>")
}

// Anchor is what links call a heading.
func Anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, heading)
}
