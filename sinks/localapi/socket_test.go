package localapi

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/sinks"
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

// TestAFolderTooDeepForASocketIsNamed says what is to be done, to who starts sluice and to who asks it.
func TestAFolderTooDeepForASocketIsNamed(t *testing.T) {
	c := Default()
	c.Dir, c.Listen = filepath.Join(t.TempDir(), strings.Repeat("deep", 30)), nil
	s, err := New("api", c, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, asking := Dial(t.Context(), "api", c, sinks.Env{})
	for who, err := range map[string]error{"who starts": s.Run(t.Context()), "who asks": asking} {
		if err == nil || !strings.Contains(err.Error(), "set state.dir") || !strings.Contains(err.Error(), c.Dir) {
			t.Errorf("%s is told %v", who, err)
		}
	}
}
