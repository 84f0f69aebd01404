//go:build integration

package syslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// found returns the addresses that a scenario has alerts of.
func found(t *testing.T, in *rig.Instance, scenario string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(in.AlertsFile())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	out := make(map[string]bool)
	for line := range bytes.Lines(text) {
		var a struct {
			Scenario string
			Source   struct{ Value string }
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if a.Scenario == scenario {
			out[a.Source.Value] = true
		}
	}
	return out
}

// TestRulesFireOnEveryClientsLines has every client send what guessing of
// passwords looks like, each from an address of its own.
func TestRulesFireOnEveryClientsLines(t *testing.T) {
	for _, rules := range rig.LinuxRules(t) {
		t.Run(rules.Name, func(t *testing.T) {
			rules.Need(t)
			s := newSite(t)
			in := rig.New(t, "sluice", rig.Config{
				"rules":   rules.Config(),
				"sources": []any{s.source()},
			})
			in.StartReady(t, "unixgram:")
			want := make(map[string]bool)
			names := make(map[string]string)
			for i, client := range clients() {
				address := fmt.Sprintf("198.51.100.%d", i+1)
				if i%2 == 1 {
					address = fmt.Sprintf("2001:db8:1::%x", i+1)
				}
				want[address], names[address] = true, client.name
				lines := make([]string, 8)
				for n := range lines {
					lines[n] = fmt.Sprintf("Failed password for invalid user u%d from %s port %d ssh2", n, address, 40000+n)
				}
				t.Run(client.name, func(t *testing.T) { // which may skip itself
					client.send(t, s, lines)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if err := rig.Poll(ctx, "an alert of "+address, func() (bool, error) {
						return found(t, in, rules.Scenario)[address], in.Ended()
					}); err != nil {
						t.Fatal(err)
					}
				})
				if t.Failed() {
					return
				}
			}
			in.Stop(t)
			for address := range found(t, in, rules.Scenario) {
				if !want[address] {
					t.Errorf("an alert of %s, which nobody has sent; known are %v", address, slices.Sorted(maps.Keys(names)))
				}
			}
		})
	}
}
