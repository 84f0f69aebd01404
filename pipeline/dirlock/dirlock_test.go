package dirlock

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestOneTakesAFolderOrSeveralShareIt(t *testing.T) {
	dir := t.TempDir()
	one, err := Take(dir, "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	for name, try := range map[string]func(string, string) (*Lock, error){"take": Take, "share": Share} {
		if _, err := try(dir, "LOCK"); !errors.As(err, &held) || held.PID != strconv.Itoa(os.Getpid()) || held.Dir != dir {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := one.Release(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	first, err := Share(dir, "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Share(dir, "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir, ""); !errors.As(err, &held) || held.Holder() != "another process" {
		t.Errorf("taken while it is shared: %v", err)
	}
	if err := errors.Join(first.Release(), second.Release()); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(filepath.Join(dir, "missing"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
