package rig

import (
	"os"
	"path/filepath"
	"testing"
)

// Rules are a folder of rules that find those who guess passwords.
type Rules struct {
	Name, Root, Collection string
	// Scenario finds guesses of SSH passwords.
	Scenario string
}

// LinuxRules are the starter rules, and those of the hub at SLUICE_HUB.
func LinuxRules(t testing.TB) []Rules {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	hub, _ := Hub(root)
	return []Rules{
		{"starter rules", filepath.Join(root, "configs", "rules"), "sluice/linux", "sluice/ssh-bf"},
		{"the hub's rules", hub, "crowdsecurity/linux", "crowdsecurity/ssh-bf"},
	}
}

// Hub is the folder of the hub, for a repository at root: SLUICE_HUB, or the
// one beside it. ok tells whether there is one.
func Hub(root string) (dir string, ok bool) {
	if dir = os.Getenv("SLUICE_HUB"); dir == "" {
		dir = filepath.Join(root, "..", "shared", "hub")
	}
	return dir, hasRules(dir)
}

func hasRules(root string) bool {
	_, err := os.Stat(filepath.Join(root, "collections"))
	return err == nil
}

// Need skips the test, aloud, where the rules are not there.
func (r *Rules) Need(t testing.TB) {
	t.Helper()
	if !hasRules(r.Root) {
		t.Skipf("skipped 1 part: no rules in %s (set SLUICE_HUB to a clone of the hub)", r.Root)
	}
}

// Config is what an instance's configuration says of them.
func (r *Rules) Config() map[string]any {
	return map[string]any{"roots": []string{r.Root}, "collections": []string{r.Collection}}
}
