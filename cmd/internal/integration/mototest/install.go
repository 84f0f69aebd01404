package mototest

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

// version is the moto that the tests were written with.
const version = "5.2.5"

// Moto is a moto that is ready to be started.
type Moto struct {
	python string
	lib    string // the folder of its packages
}

// MissingError says that a machine lacks what moto needs: tests are skipped
// for it, and for nothing else.
type MissingError struct {
	What string // such as "no Python"
}

// Error names what is missing.
func (e *MissingError) Error() string { return e.What }

// Need installs moto, or skips the test and says what is missing.
func Need(t testing.TB) *Moto {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m, err := Install(ctx)
	var missing *MissingError
	switch {
	case errors.As(err, &missing):
		t.Skipf("skipped 1 part: %v", missing)
	case err != nil:
		t.Fatal(err)
	}
	return m
}

// Install has pip fetch moto, unless it is in the cache already. The error is
// a *MissingError where there is no Python, no pip, or no registry that has moto.
func Install(ctx context.Context) (*Moto, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, &MissingError{"no Python (python3 is not in PATH)"}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	m := &Moto{python: python, lib: filepath.Join(cache, "sluice", "moto-"+version)}
	if _, err := os.Stat(m.lib); err == nil {
		return m, nil
	}
	if err := os.MkdirAll(filepath.Dir(m.lib), 0o700); err != nil {
		return nil, fmt.Errorf("moto: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(m.lib), "moto-")
	if err != nil {
		return nil, fmt.Errorf("moto: a folder to fetch it into: %w", err)
	}
	defer os.RemoveAll(dir)
	lib := filepath.Join(dir, "lib")
	if err := fetch(ctx, python, dir, lib); err != nil {
		return nil, err
	}
	// Whole or not there at all, also when another test fetches it at the same time.
	if err := os.Rename(lib, m.lib); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Stat(m.lib); there != nil {
			return nil, fmt.Errorf("moto: %w", err)
		}
	}
	return m, nil
}

// fetch installs moto into the folder lib, with Python's own pip or that of a
// virtual environment in dir.
func fetch(ctx context.Context, python, dir, lib string) error {
	if exec.CommandContext(ctx, python, "-m", "pip", "--version").Run() != nil {
		env := filepath.Join(dir, "venv")
		if exec.CommandContext(ctx, python, "-m", "venv", env).Run() != nil {
			return &MissingError{"no pip (install python3-pip or python3-venv)"}
		}
		python = filepath.Join(env, "bin", "python")
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--root-user-action", "ignore", "--target", lib, "moto[server]=="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		out = bytes.TrimSpace(out)
		return &MissingError{fmt.Sprintf("no moto %s: pip: %v: %s", version, err, out[bytes.LastIndexByte(out, '\n')+1:])}
	}
	return nil
}
