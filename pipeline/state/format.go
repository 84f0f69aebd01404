package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// formatVersion is the version of everything this package writes to the disk.
const formatVersion = 1

// formatFile names the file that makes a folder a state.
const formatFile = "SLUICE"

// format is what the format file says.
type format struct {
	version  int
	memTable int64  // Badger's memtables were of this size
	floor    uint64 // an epoch that was durable when the file was written
}

const formatText = "sluice state, format %d\nmemtable %d\nepoch %d\n"

// openFormat reads the format file, writing one into an empty folder.
func openFormat(dir string, memTable int64) (format, error) {
	f, err := readFormat(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return format{}, fmt.Errorf("reading the folder of the state: %w", err)
	}
	for _, e := range entries {
		if !ignored(e.Name()) {
			return format{}, &DamagedError{Dir: dir, Place: formatFile,
				What: fmt.Sprintf("the file is missing, yet the folder is not empty (it holds %q): it is no state, or a part of it was removed", e.Name())}
		}
	}
	f = format{version: formatVersion, memTable: memTable}
	return f, writeFloor(dir, memTable, 0)
}

// SourcesFolder and SinksFolder are folders in a state's own that are not the
// state's: sources and sinks keep there what belongs to the same moment, such as journals.
const (
	SourcesFolder = "sources"
	SinksFolder   = "sinks"
)

// ignored says whether a folder counts as empty with something of that name in it.
func ignored(name string) bool {
	switch name {
	case formatFile + ".new", pidFile, importFolder, SourcesFolder, SinksFolder, "lost+found":
		return true
	}
	return false
}

func readFormat(dir string) (format, error) {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if err != nil {
		return format{}, err
	}
	damaged := &DamagedError{Dir: dir, Place: formatFile, What: "the file is not what was written"}
	// All versions end in the sum of what stands before it, and begin with their number.
	body, last, ok := strings.Cut(string(text), "sum ")
	if !ok || "sum "+last != formatSum(body) {
		return format{}, damaged
	}
	var f format
	if _, err := fmt.Sscanf(body, "sluice state, format %d\n", &f.version); err != nil {
		return format{}, damaged
	}
	if f.version > formatVersion {
		return format{}, &VersionError{Dir: dir, Version: f.version, Newest: formatVersion}
	}
	if _, err := fmt.Sscanf(body, formatText, &f.version, &f.memTable, &f.floor); err != nil || f.memTable < leastMemTable || f.memTable > 1<<30 {
		return format{}, damaged
	}
	return f, nil
}

// formatSum is the last line of a format file.
func formatSum(body string) string { return fmt.Sprintf("sum %016x\n", xxhash.Sum64String(body)) }

// writeFloor writes the format file in one step. A state that is found below
// the floor has lost what was durable.
func writeFloor(dir string, memTable int64, floor uint64) error {
	body := fmt.Sprintf(formatText, formatVersion, memTable, floor)
	path := filepath.Join(dir, formatFile)
	if err := writeSynced(path+".new", body+formatSum(body)); err != nil {
		return fmt.Errorf("writing the state's format: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the state's format: %w", err)
	}
	return syncDir(dir)
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// syncDir makes the names of new files durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the folder of the state: %w", err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("syncing the folder of the state: %w", err)
	}
	return nil
}
