package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

func deadLetters() []pipeline.DeadLetter {
	p := pipeline.Partition{Source: "k", Topic: "logs", ID: 3}
	return []pipeline.DeadLetter{
		{
			Kind: pipeline.DeadUndecodable, Reason: "json", Position: pipeline.Position{Partition: p, Offset: 42, Line: -1}, Time: time.Unix(1, 0),
			Value: []byte("\xff\x00"), Size: 2, Key: []byte("\xfe"),
			Headers: []pipeline.Header{{Key: "a", Value: []byte("text")}, {Key: "b", Value: []byte("\xff")}},
		},
		{
			Kind: pipeline.DeadUnparsed, Position: pipeline.Position{Partition: p, Offset: 42, Line: 0}, Time: time.Unix(1, 0),
			Value: []byte("<a line> cut"), Size: 4000, Key: []byte("key"),
		},
		{
			Kind: pipeline.DeadRejected, Reason: "too large", Sink: "lapi", Position: pipeline.Position{Partition: p, Offset: 43, Line: 7},
			Value: []byte(`{"uuid":"u"}`), Size: 12, Key: []byte("u"),
		},
	}
}

func TestDeadLettersAreJSONLines(t *testing.T) {
	config := DefaultDead()
	config.Path = filepath.Join(t.TempDir(), "dead.jsonl")
	d, err := NewDeadLetters(config, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), deadLetters()[:1]); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config.Path); err != nil { // as a rotation does
		t.Fatal(err)
	}
	if err := d.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), deadLetters()[1:]); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "dead.jsonl", append(first, rest...))
}

func TestAPlaceForDeadLettersMustBeAFileThatCanBe(t *testing.T) {
	for want, path := range map[string]string{
		"path: name a file":                   "",
		"cannot go to standard output":        "-",
		"the folder /no/such is not there; c": "/no/such/dead.jsonl",
	} {
		config := DefaultDead()
		config.Path = path
		if _, err := NewDeadLetters(config, sinks.Env{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", path, err, want)
		}
	}
}
