package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Python is a Python 3 with packages of PyPI's, in a folder of their own.
type Python struct {
	// Path is the interpreter, Lib the folder for its PYTHONPATH.
	Path, Lib string
}

// NeedPython has pip fetch a package into a folder of the user's cache, once,
// named after the package with its version. What the machine lacks for that
// skips the test aloud.
func NeedPython(t testing.TB, folder, requirement string) *Python {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p, missing, err := installPython(ctx, folder, requirement)
	if err != nil {
		t.Fatal(err)
	}
	if missing != "" {
		t.Skipf("skipped 1 part: %s", missing)
	}
	return p
}

// Command returns a command that runs the interpreter in a folder.
func (p *Python) Command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(p.Path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONPATH="+p.Lib, "PYTHONDONTWRITEBYTECODE=", "TMPDIR="+dir)
	return cmd
}

// installPython returns what is missing where there is no Python, no pip, or
// no registry that has the package.
func installPython(ctx context.Context, folder, requirement string) (p *Python, missing string, err error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, "no Python (python3 is not in PATH)", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	p = &Python{Path: python, Lib: filepath.Join(cache, "sluice", folder)}
	if _, err := os.Stat(p.Lib); err == nil {
		return p, "", nil
	}
	if err := os.MkdirAll(filepath.Dir(p.Lib), 0o700); err != nil {
		return nil, "", fmt.Errorf("%s: %w", requirement, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(p.Lib), folder+"-")
	if err != nil {
		return nil, "", fmt.Errorf("%s: a folder to fetch it into: %w", requirement, err)
	}
	defer os.RemoveAll(dir)
	lib := filepath.Join(dir, "lib")
	if missing := pip(ctx, python, dir, lib, requirement); missing != "" {
		return nil, missing, nil
	}
	// Whole or not there at all, also when another test fetches it at the same time.
	if err := os.Rename(lib, p.Lib); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Stat(p.Lib); there != nil {
			return nil, "", fmt.Errorf("%s: %w", requirement, err)
		}
	}
	return p, "", nil
}

// pip installs a package into the folder lib, with Python's own pip or that of
// a virtual environment in dir. It returns what is missing for that.
func pip(ctx context.Context, python, dir, lib, requirement string) (missing string) {
	if exec.CommandContext(ctx, python, "-m", "pip", "--version").Run() != nil {
		env := filepath.Join(dir, "venv")
		if exec.CommandContext(ctx, python, "-m", "venv", env).Run() != nil {
			return "no pip (install python3-pip or python3-venv)"
		}
		python = filepath.Join(env, "bin", "python")
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--root-user-action", "ignore", "--target", lib, requirement)
	cmd.WaitDelay = time.Second // python3 may be a script, whose child holds the output when ctx ends it
	if out, err := cmd.CombinedOutput(); err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Sprintf("no %s: pip: %v: %s", requirement, err, out[bytes.LastIndexByte(out, '\n')+1:])
	}
	return ""
}
