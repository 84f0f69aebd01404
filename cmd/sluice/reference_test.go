package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/cmd/internal/reference"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/outbox"
	"sluice/sources"
	"sluice/stages/decode"
)

// books are the pages of the reference.
func books(t *testing.T) map[string]reference.Book {
	return map[string]reference.Book{
		"sources.md": {
			Noun: "source", Title: "Sources", Promises: true,
			Introduction: "Where records come from: the entries of `sources` in a [pipeline's file](configuration.md). `sluice sources` prints this list, and\n" +
				"`sluice sources TYPE` an annotated configuration of one. How durations, sizes and `${VARIABLES}` are written is said\n" +
				"[there](configuration.md), too.\n\n" +
				"Delivery is what is promised of each record across a crash of Sluice, with durable state ([`state.dir`](configuration.md#state)).",
			Kinds:  sources.Kinds(),
			Common: reference.SourceKeys{Decode: decode.Default()},
			Try: func(kind, keys string) error {
				node, err := component.Parse([]byte("type: " + kind + "\n" + keys))
				if err != nil {
					return err
				}
				s, err := sources.New(node, sources.Env{Dir: t.TempDir()})
				if err != nil {
					return err
				}
				return s.Close()
			},
		},
		"sinks.md": {
			Noun: "sink", Title: "Sinks",
			Introduction: "Where alerts and decisions go: the entries of `sinks` in a [pipeline's file](configuration.md). `sluice sinks` prints this list, and\n" +
				"`sluice sinks TYPE` an annotated configuration of one.\n\n" +
				"A sink that does not take an alert is asked again. Without [`state.dir`](configuration.md#state) reading waits for it; with it, alerts wait in the\n" +
				"[outbox](configuration.md#outbox). Places for dead letters are [at the end](#dead-letters).",
			Kinds:  sinks.Kinds(),
			Common: reference.SinkKeys{OnFull: "block", Retry: outbox.DefaultRetry()},
			Try: func(kind, keys string) error {
				node, err := component.Parse([]byte("type: " + kind + "\n" + keys))
				if err != nil {
					return err
				}
				s, err := sinks.New(node, sinks.Env{Stdout: io.Discard, Dir: t.TempDir()})
				if err != nil {
					return err
				}
				return s.Close()
			},
		},
	}
}

// deadLetters are described at the end of the sinks' page.
func deadLetters() reference.Book {
	return reference.Book{
		Noun: "dead letters in", Title: "Dead letters",
		Introduction: "The places that [`dead_letters`](configuration.md#dead_letters) may name.",
		Kinds:        sinks.DeadLettersKinds(),
		Try: func(kind, keys string) error {
			node, err := component.Parse([]byte(keys))
			if err != nil {
				return err
			}
			d, err := sinks.NewDeadLetters(kind, node, sinks.Env{})
			if err != nil {
				return err
			}
			return d.Close()
		},
	}
}

// referenceFiles returns the files of the reference, by their paths from here.
func referenceFiles(t *testing.T) map[string][]byte {
	t.Helper()
	builder := reference.NewBuilder(filepath.FromSlash("../.."))
	out := make(map[string][]byte)
	for page, book := range books(t) {
		text, err := builder.Page(book)
		if err != nil {
			t.Fatal(err)
		}
		if page == "sinks.md" {
			dead := deadLetters()
			kinds, err := builder.Build(dead)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, "\n## "+dead.Title+"\n\n"+dead.Introduction+"\n\n"+reference.Body(dead.Noun, "###", nil, kinds)...)
			text = append(bytes.TrimRight(text, "\n"), '\n')
		}
		out["../../docs/"+page] = text
		kinds, err := builder.Build(book)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kinds {
			out["reference/"+k.Noun+"-"+k.Type+".yaml"] = k.YAML()
		}
	}
	return out
}

// TestReference holds the reference that is committed to what the registered
// kinds and their comments say. It fails, too, when a key has no comment, or
// an example does not work.
func TestReference(t *testing.T) {
	files := referenceFiles(t)
	old, err := filepath.Glob(filepath.FromSlash("reference/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if files[filepath.ToSlash(path)] != nil {
			continue
		}
		if !*update {
			t.Errorf("%s describes no kind that there is; run: go generate ./cmd/sluice", path)
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range files {
		path = filepath.FromSlash(path)
		have, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(have, want):
		case !*update:
			t.Errorf("%s is stale; run: go generate ./cmd/sluice", path)
		default:
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// commentedKey is a line of the annotated YAML that holds a key or a list's dash behind its #.
var commentedKey = regexp.MustCompile(`(?m)^( *)#([^ \n])`)

// TestAnnotatedConfigurationsAreSound holds the annotated YAML to its promise:
// it works as it is, and with every default spelled out there is no key in it that the kind does not know.
func TestAnnotatedConfigurationsAreSound(t *testing.T) {
	for _, book := range books(t) {
		var common []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(book.Common)) {
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "type" {
				common = append(common, key)
			}
		}
		for _, k := range book.Kinds {
			t.Run(book.Noun+" "+k.Type, func(t *testing.T) {
				text, err := annotated.ReadFile("reference/" + book.Noun + "-" + k.Type + ".yaml")
				if err != nil {
					t.Fatal(err)
				}
				_, asItIs, ok := strings.Cut(string(text), "\ntype: "+k.Type+"\n")
				if !ok {
					t.Fatal("it has no type")
				}
				if err := book.Try(k.Type, asItIs); err != nil {
					t.Errorf("as it is: %v", err)
				}
				_, all, _ := strings.Cut(asItIs, "# Every key, with its default.")
				node, err := component.Parse([]byte("#" + commentedKey.ReplaceAllString(all, "$1$2")))
				if err != nil {
					t.Fatalf("with all keys: %v", err)
				}
				taken, rest, err := component.Take(node, common...)
				if err != nil || len(taken) != len(common) {
					t.Fatalf("with all keys: only %v of the common keys, %v", taken, err)
				}
				config := reflect.New(reflect.TypeOf(k.Default))
				if err := component.Decode(rest, config.Interface()); err != nil && strings.Contains(err.Error(), "unknown key") {
					t.Errorf("with all keys: %v", err)
				}
			})
		}
	}
}

// TestKeysOfAllKindsAreNoKindsOwn: the pipeline takes the keys of every source
// and sink out of a mapping, so a kind that had one of its own by that name would never see it.
func TestKeysOfAllKindsAreNoKindsOwn(t *testing.T) {
	builder := reference.NewBuilder(filepath.FromSlash("../.."))
	for _, book := range books(t) {
		kinds, err := builder.Build(book)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kinds {
			for _, own := range k.Keys {
				if slices.ContainsFunc(k.Common, func(c reference.Key) bool { return c.Name == own.Name }) {
					t.Errorf("%s %s: its key %s is one of every %s; call it otherwise", k.Noun, k.Type, own.Name, k.Noun)
				}
			}
		}
	}
}

// TestExamplesWriteNothing holds constructors to their promise: they open nothing.
func TestExamplesWriteNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, book := range append(slices.Collect(maps.Values(books(t))), deadLetters()) {
		for _, k := range book.Kinds {
			if err := book.Try(k.Type, k.Example); err != nil {
				t.Errorf("%s %s: %v", book.Noun, k.Type, err)
			}
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("making sources and sinks left %v, %v", left, err)
	}
	if _, err := sinks.NewDeadLetters("nowhere", nil, sinks.Env{}); err == nil || !strings.Contains(err.Error(), "known are file, kafka") {
		t.Errorf("an unknown place for dead letters: %v", err)
	}
}

// TestKeysAreInTheReference counts the keys that a kind's struct has, by another way than the generator does.
func TestKeysAreInTheReference(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../docs/sources.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## source kafka\n")
	if !ok {
		t.Fatal("the page has no section on kafka")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var keys []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		keys = append(keys, m[1])
	}
	for _, key := range []string{"brokers", "tls", "ca_file", "mechanism", "ordinal", "max_wait", "labels"} {
		if !slices.Contains(keys, key) {
			t.Errorf("the section on kafka has no row for %s: %v", key, keys)
		}
	}
}
