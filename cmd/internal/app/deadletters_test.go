package app

import (
	"testing"

	"sluice/pipeline/component"
	"sluice/stages/engine"
)

func TestWhatIsKeptOfDeadLetters(t *testing.T) {
	for _, c := range []struct {
		yaml string
		want engine.DeadOptions
	}{
		{"", engine.DeadOptions{}},
		{"file: {path: dead.jsonl}", engine.DeadOptions{Undecodable: true, Unreadable: true, Bytes: 256 << 10}},
		{"file: {path: dead.jsonl}\nunreadable: false\nundecodable: false\nunparsed: true", engine.DeadOptions{Unparsed: true, Bytes: 256 << 10}},
	} {
		node, err := component.Parse([]byte(c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		d, err := readDeadLetters(node)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.options(); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.yaml, got, c.want)
		}
	}
}
