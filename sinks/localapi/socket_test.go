package localapi

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASocketReplacesASocketAndNothingElse listens where a socket was left behind, and where something else is.
func TestASocketReplacesASocketAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "left")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listen(t.Context(), "unix:"+left, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t.Context(), "unix:"+file, nil); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("listening in place of a file: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("of the file is left %q, %v", text, err)
	}
}
