package reference

import (
	"regexp"
	"strings"
)

var (
	// name is a Go identifier that may be a field's.
	name = regexp.MustCompile("`[^`]*`|\\b[A-Z][A-Za-z0-9]*\\b")
	// phrase is what may stand without a subject: "Paths is the list of" is told as "The list of".
	phrase = regexp.MustCompile(`^(?:is|are) ((?:the|a|an|how|where|what|when|which|who|whether|after|as)\b)`)
	// sentence ends with a word that the next begins behind.
	sentence = regexp.MustCompile(`[.:;?!]\s*$`)
)

// prose turns the comment of a field into text for users: fields are called
// by their keys, lines are joined, and paragraphs stay. keys are the keys of
// the struct's fields by their Go names.
func prose(comment, field string, keys map[string]string) string {
	paragraphs := strings.Split(comment, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	text := strings.Join(paragraphs, "\n\n")
	start := ""
	if rest, ok := strings.CutPrefix(text, field+" "); ok {
		if m := phrase.FindStringSubmatchIndex(rest); m != nil {
			rest = rest[m[2]:]
			start, text = strings.ToUpper(rest[:1]), rest[1:]
		} else {
			start, text = code(keys[field]), " "+rest
		}
	}
	return start + replaceNames(text, start != "", keys)
}

// replaceNames writes keys in place of the fields' Go names. A name of a
// single hump at the beginning of a sentence is taken for a plain word, and
// one behind a dash for a part of another name, such as X-Api-Key.
func replaceNames(text string, inSentence bool, keys map[string]string) string {
	var b strings.Builder
	at := 0
	for _, m := range name.FindAllStringIndex(text, -1) {
		word := text[m[0]:m[1]]
		key, known := keys[word]
		b.WriteString(text[at:m[0]])
		at = m[1]
		before := text[:m[0]]
		begins := sentence.MatchString(before) || strings.TrimSpace(before) == "" && !inSentence
		if known && !strings.HasSuffix(before, "-") && (!begins || strings.ToUpper(word[:1])+strings.ToLower(word[1:]) != word) {
			word = code(key)
		}
		b.WriteString(word)
	}
	b.WriteString(text[at:])
	return b.String()
}

func code(text string) string { return "`" + text + "`" }

// wrap breaks text into lines of at most width bytes, where words allow it.
// A blank line stays between paragraphs.
func wrap(text string, width int) []string {
	var lines []string
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			lines = append(lines, "")
		}
		line := ""
		for _, word := range strings.Fields(p) {
			if line != "" && len(line)+1+len(word) > width {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}
