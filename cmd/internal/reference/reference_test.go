package reference

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/component"
)

func TestCommentsBecomeText(t *testing.T) {
	keys := map[string]string{"Group": "group", "MaxWait": "max_wait", "TLS": "tls", "Topics": "topics"}
	for name, c := range map[string]struct{ field, comment, want string }{
		"a phrase stands alone":            {"MaxWait", "MaxWait is how long\na broker gathers.", "How long a broker gathers."},
		"a verb keeps its subject":         {"Topics", "Topics are read side by side.", "`topics` are read side by side."},
		"other fields are told by key":     {"TLS", "TLS needs MaxWait, and the members of Group.", "`tls` needs `max_wait`, and the members of `group`."},
		"a word may look like a field":     {"TLS", "TLS says how. Group sizes are free; Topics too.", "`tls` says how. Group sizes are free; Topics too."},
		"what is code stays":               {"TLS", "The `MaxWait` is theirs.", "The `MaxWait` is theirs."},
		"behind a dash it is another name": {"Group", "Group is asked for as X-Group, not as Group.", "`group` is asked for as X-Group, not as `group`."},
		"paragraphs stay":                  {"TLS", "One\nline.\n\nAnother\nparagraph.", "One line.\n\nAnother paragraph."},
		"a comment without the name stays": {"TLS", "Vendors differ.", "Vendors differ."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := prose(c.comment, c.field, keys); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

type inner struct {
	// Path is a file.
	Path string `yaml:"path"`
	Bare bool   `yaml:"bare"`
}

func TestAKeyWithoutACommentIsAnError(t *testing.T) {
	_, err := NewBuilder("../../..").Build(Book{Noun: "source", Kinds: []component.Info{{
		Type: "x", Summary: "A.", Description: "B.", Example: "path: x", Default: inner{},
	}}, Try: func(string, string) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "has no struct reference.inner") { // of a test file, which is no source
		t.Errorf("error = %v", err)
	}
	_, err = NewBuilder("testdata/module").Build(Book{Noun: "source", Kinds: []component.Info{{
		Type: "x", Summary: "A.", Description: "B.", Example: "path: x", Default: inner{},
	}}, Try: func(string, string) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "source x: reference.inner.Bare, the key bare, has no doc comment") {
		t.Errorf("error = %v", err)
	}
}

func TestRequiredIsWhatTheExampleNeeds(t *testing.T) {
	info := component.Info{Type: "x", Example: "a: 1\nb: 2\nlist:\n  - {c: 3, d: 4}\n"}
	got, err := requiredIn(info, func(_, keys string) error {
		if !strings.Contains(keys, "a:") || !strings.Contains(keys, "c:") && strings.Contains(keys, "list:") {
			return errors.New("something is missing")
		}
		return nil
	})
	if want := []string{"a", "list.c"}; err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("required are %v, %v; want %v", got, err, want)
	}
	pair := component.Info{Type: "x", Example: "a: 1\nuser: 2\npassword: 3\n"}
	got, err = requiredIn(pair, func(_, keys string) error {
		if !strings.Contains(keys, "a:") || strings.Contains(keys, "user:") != strings.Contains(keys, "password:") {
			return errors.New("something is missing")
		}
		return nil
	})
	if want := []string{"a"}; err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("where two keys go together required are %v, %v; want %v", got, err, want)
	}
	if _, err := requiredIn(info, func(string, string) error { return errors.New("broken") }); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("an example that does not work: %v", err)
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Minute: "1m", 4 * time.Hour: "4h", 90 * time.Second: "1m30s", 0: "0s", 250 * time.Millisecond: "250ms"} {
		if got := duration(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestScalarsAreQuotedWhereTheyMustBe(t *testing.T) {
	for text, want := range map[string]string{"json": "json", "nats://localhost:4222": "nats://localhost:4222", "0640": `"0640"`, "on": `"on"`, "": `""`, "a b": `"a b"`, "x:": `"x:"`} {
		if got := scalar(text); got != want {
			t.Errorf("%q is written %s, want %s", text, got, want)
		}
	}
}
