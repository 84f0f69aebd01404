package funcs

import (
	"os"
	"path/filepath"
	"testing"
)

// hub returns the hub's folder: SLUICE_HUB, or ../shared/hub beside the repository.
func hub(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SLUICE_HUB")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for root != filepath.Dir(root) {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared", "hub")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("hub not found: set SLUICE_HUB to its folder (%v)", err)
	}
	return dir
}

// load puts text into a file and loads it as name.
func load(t testing.TB, d *Data, name, kind, text string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return d.Load(name, path, kind, LoadOptions{})
}

func mustLoad(t testing.TB, d *Data, name, kind, text string) {
	t.Helper()
	if err := load(t, d, name, kind, text); err != nil {
		t.Fatal(err)
	}
}

func function(t testing.TB, table []Function, name string) Function {
	t.Helper()
	for _, f := range table {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no helper %s", name)
	return Function{}
}
