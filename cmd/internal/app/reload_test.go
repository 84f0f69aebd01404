package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withRules gives a rig a copy of the starter rules that a test may change.
func (r *rig) withRules() (scenario string) {
	r.t.Helper()
	root := filepath.Join(r.dir, "rules")
	if err := os.CopyFS(root, os.DirFS("../../../configs/rules")); err != nil {
		r.t.Fatal(err)
	}
	text, err := os.ReadFile(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	from, _, _ := strings.Cut(strings.SplitN(string(text), "roots: [", 2)[1], "]")
	r.write(r.config, strings.Replace(string(text), from, root, 1))
	return filepath.Join(root, "scenarios", "sluice", "ssh-bf.yaml")
}

func (r *rig) write(path, text string) {
	r.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// edit replaces text in a file.
func (r *rig) edit(path, from, to string) {
	r.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		r.t.Fatalf("%s does not hold %q", path, from)
	}
	r.write(path, strings.ReplaceAll(string(text), from, to))
}

func TestAReloadKeepsTheBucketsOfWhatIsUnchanged(t *testing.T) {
	for _, tc := range []struct {
		name     string
		from, to string
		want     string // of the alert
	}{
		{"a description", "description:", "description: Changed.\n#", "sluice/ssh-bf@5"},
		{"how fast it leaks", "leakspeed: 12s", "leakspeed: 13s", "sluice/ssh-bf@8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, stateHere+"}")
			scenario := r.withRules()
			r.start()
			defer r.end()
			r.assign(0, -1)
			r.fail(0, 0, 3)
			r.edit(scenario, tc.from, tc.to)
			if err := r.p.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.fail(0, 3, 9)
			r.checkpoint()
			if got := r.alert(); got != tc.want {
				t.Errorf("alert %s, want %s", got, tc.want)
			}
		})
	}
}

func TestABrokenReloadLeavesTheRunningRulesInPlace(t *testing.T) {
	r := newRig(t, stateHere+"}")
	scenario := r.withRules()
	r.edit(r.config, "collections:", "strict: true, collections:")
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.fail(0, 0, 3)
	r.edit(scenario, "filter:", "filter: evt.Meta.log_type ==\n#")
	err := r.p.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the running rules stay in place") || !strings.Contains(err.Error(), "ssh-bf.yaml") {
		t.Fatalf("reload says %v", err)
	}
	r.fail(0, 3, 6)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
}

func TestAReloadWithoutStateBeginsEmpty(t *testing.T) {
	r := newRig(t, "")
	r.withRules()
	r.start()
	defer r.end()
	r.fail(0, 0, 3)
	if err := r.p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fail(0, 3, 9)
	if got := r.alert(); got != "sluice/ssh-bf@8" {
		t.Errorf("alert %s, want sluice/ssh-bf@8", got)
	}
}

// TestBucketsThatDidNotFitIntoMemoryGoOn: with room for hardly any bucket, a
// restart leaves them in the store, and an attack that goes on is found all the same.
func TestBucketsThatDidNotFitIntoMemoryGoOn(t *testing.T) {
	r := newRig(t, stateHere+", memory_limit: 1KiB}")
	r.start()
	r.assign(0, -1)
	r.failFrom(0, 0, 300, 3) // three times each
	r.checkpoint()
	r.end()
	r.start()
	defer r.end()
	if from, ok := r.assign(0, 900, own(-1)); from != 900 || !ok {
		t.Fatalf("the partition goes on at %d, %v", from, ok)
	}
	found := make(map[string]bool)
	r.failFrom(0, 900, 300, 3)
	r.checkpoint()
	for range 300 {
		found[r.alert()] = true
	}
	if len(found) != 300 {
		t.Errorf("%d attacks of 300 were found", len(found))
	}
	if reads := r.p.gauges.ColdReads.Load(); reads == 0 {
		t.Error("nothing was read back from the store")
	}
}

// TestReloadsInARowLoseNothing: a graph that has not begun when the next
// reload comes must not be passed over.
func TestReloadsInARowLoseNothing(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.withRules()
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.fail(0, 0, 3)
	for range 10 {
		before := r.p.graphs.graph()
		if err := r.p.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.p.graphs.graph() == before {
			t.Fatal("a reload ended before its graph was in place")
		}
	}
	r.fail(0, 3, 6)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
}
