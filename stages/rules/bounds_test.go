package rules

import (
	"fmt"
	"strings"
	"testing"
)

func TestFilesOutOfAllBoundsAreRefusedInWords(t *testing.T) {
	const size = 1 << 20
	var keys strings.Builder
	for i := 0; keys.Len() < size; i++ {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for _, tc := range []struct{ name, src, want string }{
		{"a million list starts", strings.Repeat("[", size), "x.yaml:1:50001: more than 50000 keys and values"},
		{"a list in a list, by dashes", strings.Repeat("- ", 1000), "x.yaml:1:129: more than 64 mappings and lists"},
		{"a hundred thousand keys", keys.String(), "more than 50000 keys and values"},
		{"an open quote", "name: \"" + strings.Repeat("x\n", size/2), "x.yaml:1:7: the YAML is broken here"},
		{"more faults than one reads", strings.Join(strings.SplitAfter(keys.String(), "\n")[:60], ""), "there are more faults; the first are told"},
		{"a line as long as the file", "name: a/b\nx: " + strings.Repeat("y", size), `x.yaml:2:1: a scenario has no key "x"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseScenarios("x.yaml", []byte(tc.src))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v\nwant %s", err, tc.want)
			}
			if err != nil && len(err.Error()) > 10_000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}
