package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReferencesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "hunter2\n", "bare": "hunter3", "two": "hunter4\nhunter5\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SLUICE_EXPAND", "set")
	for in, want := range map[string]string{
		"a: ${SLUICE_EXPAND} ${SLUICE_EXPAND:-x} ${SLUICE_NO:-a b} ${SLUICE_NO:-}": "a: set set a b ",
		"a: ${file:" + dir + "/token}, ${file:" + dir + "/bare}":                   "a: hunter2, hunter3",
		"  # ${SLUICE_NO} ${file:/nowhere}\nb: $SLUICE_NO ${file:}":                "  # ${SLUICE_NO} ${file:/nowhere}\nb: $SLUICE_NO ${file:}",
	} {
		if got, err := expand([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s gives %s, %v; want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"a: ${SLUICE_NO}": "SLUICE_NO is not set", "a: ${file:/nowhere}": "/nowhere", "a: ${file:" + dir + "/two}": "more than one line",
	} {
		if _, err := expand([]byte(in)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: error %v, want %q", in, err, want)
		}
	}
}
