package state

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// write makes the files of testdata that are not there; those that are stay
// as they are, since they are what earlier versions wrote.
var write = flag.Bool("write", false, "write the missing files of testdata")

// exhibit fills a store with a bit of everything.
func exhibit(t testing.TB, s *Store) map[string]string {
	t.Helper()
	want := map[string]string{}
	if err := s.Load(func(_, _ []byte, _ Sum) error { return nil }); err != nil {
		t.Fatal(err)
	}
	sums := map[string]Sum{}
	for epoch := range 6 {
		e := &Epoch{Parts: []*Writer{{}, {}}, Outbox: []Entry{{Payload: fmt.Appendf(nil, "alert %d", epoch)}}}
		s.Dictionary().Number(NumberField, fmt.Sprint("field ", epoch/2))
		for i := range 100 {
			key := fmt.Sprintf("b%d", (i*7+epoch*13)%150)
			w := e.Parts[0]
			if (i+epoch)%5 == 0 {
				w.Delete([]byte(key), sums[key])
				delete(sums, key)
				delete(want, key)
				continue
			}
			want[key] = fmt.Sprintf("value %d of epoch %d", i, epoch)
			sums[key] = w.Put([]byte(key), []byte(want[key]), sums[key])
		}
		key := fmt.Sprintf("pposition %d", epoch)
		want[key] = "17"
		e.Parts[1].Put([]byte(key), []byte("17"), 0)
		if _, err := s.Commit(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if epoch == 3 {
			if err := s.Fold(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(s.Trim(3), s.Discard([]uint64{4}), s.SetCursor("file", 3), s.SetCursor("kafka", 2), s.SetAccepted(5)); err != nil {
		t.Fatal(err)
	}
	return want
}

// checkExhibit says whether a store holds what exhibit put into one.
func checkExhibit(t *testing.T, s *Store, want map[string]string) {
	t.Helper()
	got, err := loadAll(s, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(got, want); err != nil {
		t.Error(err)
	}
	for n := range 3 {
		if name, ok := s.Dictionary().Name(NumberField, uint32(n+1)); !ok || name != fmt.Sprint("field ", n) {
			t.Errorf("number %d is %q", n+1, name)
		}
	}
	entries, err := s.Outbox(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, e := range entries {
		text += fmt.Sprintf("%d %s %v; ", e.Seq, e.Payload, e.Discarded)
	}
	if want := "3 alert 2 false; 4  true; 5 alert 4 false; 6 alert 5 false; "; text != want {
		t.Errorf("the outbox is %s, want %s", text, want)
	}
	if c := s.Cursors(); len(c) != 2 || c["file"] != 3 || c["kafka"] != 2 || s.Accepted() != 5 || s.NextSeq() != 7 {
		t.Errorf("cursors %v, accepted %d, next %d", c, s.Accepted(), s.NextSeq())
	}
}

func TestAnExportBringsEverythingBack(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	want := exhibit(t, s)
	var export bytes.Buffer
	if err := s.Export(&export); err != nil {
		t.Fatal(err)
	}
	o := smallOptions(t)
	if err := Import(o, bytes.NewReader(export.Bytes())); err != nil {
		t.Fatal(err)
	}
	back := mustOpen(t, o)
	checkExhibit(t, back, want)
	if back.Last() <= s.Last() {
		t.Errorf("epoch %d follows %d", back.Last(), s.Last())
	}
	if _, err := back.Commit(context.Background(), &Epoch{Outbox: []Entry{{Payload: []byte("next")}}}); err != nil {
		t.Fatal(err)
	}
	if err := Import(o, bytes.NewReader(export.Bytes())); err == nil {
		t.Error("an export was imported over a state")
	}
}

func TestAnExportThatIsNotWholeIsRefused(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	exhibit(t, s)
	var export bytes.Buffer
	if err := s.Export(&export); err != nil {
		t.Fatal(err)
	}
	plain := plainOf(t, export.Bytes())
	for at := 0; at < len(plain); at += 97 {
		for what, data := range map[string][]byte{"cut": plain[:at], "changed": flipped(plain, at)} {
			o := smallOptions(t)
			if err := Import(o, packed(t, data)); err == nil {
				t.Errorf("%s at %d: it was imported", what, at)
			}
			if err := isEmpty(o.Dir); err != nil {
				t.Errorf("%s at %d: %v", what, at, err)
			}
		}
	}
}

func plainOf(t testing.TB, export []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(export))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 4
	return data
}

func packed(t testing.TB, plain []byte) io.Reader {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// TestYesterdaysBytes reads what version 1 of the format wrote, once and for all.
func TestYesterdaysBytes(t *testing.T) {
	s := mustOpen(t, smallOptions(t))
	want := exhibit(t, s)
	folder, export := filepath.Join("testdata", "v1"), filepath.Join("testdata", "v1.export")
	if *write {
		writeYesterday(t, s, folder, export)
	}
	o := smallOptions(t)
	o.Dir = copyDir(t, folder)
	checkExhibit(t, mustOpen(t, o), want)

	f, err := os.Open(export)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o = smallOptions(t)
	if err := Import(o, f); err != nil {
		t.Fatal(err)
	}
	checkExhibit(t, mustOpen(t, o), want)
}

func writeYesterday(t *testing.T, s *Store, folder, export string) {
	t.Helper()
	if _, err := os.Stat(export); err == nil {
		t.Fatal("testdata is there; what an earlier version wrote is never written again")
	}
	var b bytes.Buffer
	err := errors.Join(s.Export(&b), s.Close(), os.MkdirAll(folder, 0o755), os.WriteFile(export, b.Bytes(), 0o644))
	entries, derr := os.ReadDir(s.options.Dir)
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == tableExt || e.Name() == manifestFile || e.Name() == formatFile {
			err = errors.Join(err, copyFile(filepath.Join(folder, e.Name()), filepath.Join(s.options.Dir, e.Name())))
		}
	}
	if err := errors.Join(err, derr); err != nil {
		t.Fatal(err)
	}
}

func TestANewerStateIsRefused(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	body := "sluice state, format 2\nsomething that this version knows nothing of\n"
	if err := writeSynced(filepath.Join(o.Dir, formatFile), body+formatSum(body)); err != nil {
		t.Fatal(err)
	}
	var version *VersionError
	if _, err := Open(o); !errors.As(err, &version) || version.Version != 2 {
		t.Errorf("got %v", err)
	}
	if _, err := Inspect(o.Dir); !errors.As(err, &version) {
		t.Errorf("inspect: got %v", err)
	}
}

func TestAForeignFolderIsRefused(t *testing.T) {
	o := smallOptions(t)
	if err := os.WriteFile(filepath.Join(o.Dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(o); !errors.As(err, &damaged) {
		t.Errorf("got %v", err)
	}
}

func TestResetRemovesTheStateAndNothingElse(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	exhibit(t, s)
	var locked *LockedError
	if err := Reset(o.Dir); !errors.As(err, &locked) {
		t.Errorf("a state in use was reset: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(o.Dir, "notes.txt")
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Reset(o.Dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "notes.txt" {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	if s := mustOpen(t, o); s.Last() != 0 {
		t.Errorf("epoch %d is still there", s.Last())
	}
}

func TestInspectCountsAndChangesNothing(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	want := exhibit(t, s)
	image := copyDir(t, o.Dir) // as a crash leaves it: the log is open
	for what, dir := range map[string]string{"crashed": image, "closed": o.Dir} {
		if what == "closed" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		before := sizes(t, dir)
		info, err := Inspect(dir)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		buckets, positions, numbers := info.Kinds[KindBucket].Records, info.Kinds[KindPosition].Records, info.Kinds[KindNumber].Records
		if int(buckets)+6 != len(want) || positions != 6 || numbers != 3 || info.Records != buckets+9 || info.Last != 6 || info.Folded != 4 ||
			info.Outbox.First != 3 || info.Outbox.Next != 7 || info.Outbox.Cursors["kafka"] != 2 || len(info.Problems) != 0 || info.Disk == 0 {
			t.Errorf("%s: got %+v", what, info)
		}
		if after := sizes(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: the folder was %v, and is %v", what, before, after)
		}
	}
}

func sizes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = info.Size()
	}
	return all
}

func TestWhatIsLeftOfADamagedStateCanBeExported(t *testing.T) {
	o := smallOptions(t)
	s := mustOpen(t, o)
	exhibit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(o.Dir, "*"+tableExt))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	data, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tables[0], flipped(data, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(o); !errors.As(err, &damaged) || damaged.Place != filepath.Base(tables[0]) {
		t.Errorf("open: got %v", err)
	}
	info, err := Inspect(o.Dir)
	if err != nil || len(info.Problems) == 0 {
		t.Errorf("inspect: got %+v, %v", info, err)
	}
	v, err := View(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var export bytes.Buffer
	if err := v.Export(&export); !errors.As(err, &damaged) {
		t.Errorf("export: got %v", err)
	}
	if _, err := v.Commit(context.Background(), &Epoch{}); !errors.Is(err, errView) {
		t.Errorf("commit: got %v", err)
	}
	to := smallOptions(t)
	if err := Import(to, &export); err != nil {
		t.Errorf("import: %v", err)
	}
}
