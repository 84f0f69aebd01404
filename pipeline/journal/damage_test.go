package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// three makes a journal of three segments with a few groups each, and returns
// what a reader finds in it. peace tells whether its run ended in peace.
func three(t *testing.T, o Options, peace bool) (records []string) {
	t.Helper()
	j := start(t, o)
	for segment := range 3 {
		j.mustPut(Entry{Marks: map[string]string{"filler": strings.Repeat("x", int(o.SegmentBytes)-700)}}, marks("filler", ""))
		for i := range 3 {
			j.mustPut(entry("a", fmt.Sprintf("%d.%d", segment, i)))
		}
	}
	records = strings.Fields(j.all(t, nil))
	if peace {
		j.end()
		return records
	}
	j.stop()
	<-j.done
	j.mu.Lock()
	j.segments, j.active = nil, nil // as a process that was killed
	j.mu.Unlock()
	if err := j.Close(nil); err != nil {
		t.Fatal(err)
	}
	return records
}

func damageOptions(t *testing.T, fs FS) Options {
	o := options(t, fs)
	o.SegmentBytes = 2000
	return o
}

// reopen opens a damaged journal. It returns the records found, or the error.
func reopen(t *testing.T, o Options, fs *memory) ([]string, error) {
	t.Helper()
	o.FS = fs
	j, err := Open(o)
	if err != nil {
		return nil, err
	}
	found := strings.Fields(j.all(t, nil))
	if err := j.Close(nil); err != nil {
		t.Fatal(err)
	}
	return found, nil
}

func TestEveryBitFlipIsNoticed(t *testing.T) {
	fs := newMemory()
	o := damageOptions(t, fs)
	records := three(t, o, true)
	paths := fs.paths()
	if len(paths) != 3 {
		t.Fatalf("not three segments: %v", fs)
	}
	for i, path := range paths {
		size := len(fs.files[path].data)
		for at := range size {
			wreck := fs.copy()
			wreck.files[path].data[at] ^= 1 << (at % 8)
			found, err := reopen(t, o, wreck)
			var damage *DamageError
			switch {
			case errors.As(err, &damage):
				if damage.File != filepath.Base(path) || !strings.Contains(err.Error(), "backup") {
					t.Fatalf("byte %d of %s: error %v", at, path, err)
				}
			case err != nil:
				t.Fatalf("byte %d of segment %d: %v", at, i, err)
			case i == 2 && at >= size-headerBytes: // the mark of a run that ended in peace, which says nothing else
				if len(found) != len(records) {
					t.Fatalf("byte %d of the last block: %d records", at, len(found))
				}
			default:
				t.Fatalf("byte %d of segment %d: not noticed", at, i)
			}
		}
	}
}

func TestEveryTornEndIsCutAndOtherwiseCompletenessIsKept(t *testing.T) {
	fs := newMemory()
	o := damageOptions(t, fs)
	records := three(t, o, false)
	paths := fs.paths()
	last := paths[len(paths)-1]
	found := -1
	for size := range len(fs.files[last].data) + 1 {
		wreck := fs.copy()
		wreck.files[last].data = wreck.files[last].data[:size]
		got, err := reopen(t, o, wreck)
		if err != nil {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
		if len(got) < found || len(got) > len(records) || strings.Join(got, " ") != strings.Join(records[:len(got)], " ") {
			t.Fatalf("cut to %d bytes: records %v", size, got)
		}
		found = len(got)
	}
	if found != len(records) {
		t.Errorf("the whole journal has %d records of %d", found, len(records))
	}
	for _, path := range paths[:2] { // a segment that is not the last
		for _, size := range []int{0, 1, headerBytes, len(fs.files[path].data) - 1} {
			wreck := fs.copy()
			wreck.files[path].data = wreck.files[path].data[:size]
			if _, err := reopen(t, o, wreck); err == nil {
				t.Errorf("%s cut to %d bytes: not noticed", path, size)
			}
		}
	}
}

func TestATornWriteOfSeveralEntriesIsNoDamage(t *testing.T) {
	// Sectors reach the disk in any order: the first of a group may be missing and later ones there.
	fs := newMemory()
	o := damageOptions(t, fs)
	o.SegmentBytes = 64 << 10
	j := start(t, o)
	j.mustPut(entry("a", "safe"))
	safe := len(fs.files[fs.paths()[0]].data)
	var values []string
	for i := range 50 {
		values = append(values, fmt.Sprintf("%050d", i))
	}
	j.mustPut(entry("a", values...))
	wreck := fs.copy()
	j.end()
	data := wreck.files[fs.paths()[0]].data
	for at := safe; at < len(data); at += 512 {
		torn := wreck.copy()
		clear(torn.files[fs.paths()[0]].data[at:min(at+512, len(data))])
		found, err := reopen(t, o, torn)
		if err != nil || len(found) != 1 {
			t.Errorf("without the bytes at %d: %v, %v", at, found, err)
		}
	}
}

func TestARecordCannotPassForABlock(t *testing.T) {
	// Somebody sends a record that is a group of another journal, and the write of it is torn.
	other := newMemory()
	oo := damageOptions(t, other)
	three(t, oo, false)
	group := other.files[other.paths()[2]].data

	fs := newMemory()
	o := damageOptions(t, fs)
	o.SegmentBytes = 64 << 10
	j := start(t, o)
	j.mustPut(entry("a", "safe"))
	safe := len(fs.files[fs.paths()[0]].data)
	j.mustPut(entry("a", string(group)))
	wreck := fs.copy()
	j.end()
	clear(wreck.files[fs.paths()[0]].data[safe : safe+headerBytes])
	if found, err := reopen(t, o, wreck); err != nil || len(found) != 1 {
		t.Errorf("found %v, error %v", found, err)
	}
}

func TestSegmentsThatAreMissingOrStrangeAreNoticed(t *testing.T) {
	fs := newMemory()
	o := damageOptions(t, fs)
	three(t, o, true)
	paths := fs.paths()
	missing := fs.copy()
	delete(missing.files, paths[1])
	strange := fs.copy()
	path := filepath.Join(o.Dir, segmentName(4, identity{1}))
	strange.files[path] = strange.files[paths[0]]
	renamed := fs.copy()
	_, id, _ := parseName(filepath.Base(paths[0]))
	renamed.files[filepath.Join(o.Dir, segmentName(4, id))] = renamed.files[paths[0]]
	for _, c := range []struct {
		fs   *memory
		want string
	}{{missing, "1 files before this one are missing"}, {strange, "of another journal"}, {renamed, "says that it is number 1"}} {
		if _, err := reopen(t, o, c.fs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestDamageWhileItRunsEndsTheReading(t *testing.T) {
	fs := newMemory()
	o := damageOptions(t, fs)
	j := start(t, o)
	j.mustPut(entry("a", "1"), entry("a", "2"))
	fs.mu.Lock()
	data := fs.files[fs.paths0()].data
	data[len(data)-1] ^= 1
	fs.mu.Unlock()
	r := j.Reader(nil)
	var damage *DamageError
	if _, err := r.Next(t.Context()); !errors.As(err, &damage) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	j.end()
}

// paths0 is the first path; the lock is held.
func (m *memory) paths0() string { return sortedPaths(m.files)[0] }
