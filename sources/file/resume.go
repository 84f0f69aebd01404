package file

import (
	"cmp"
	"context"
	"os"
	"slices"
)

// resume goes on where a state stands in a path: in the file that the offset
// is in, whatever it is called by now, then in those that the path had since, of which look finds the rest.
func (t *tail) resume(files []identity, generation, begin int64, info os.FileInfo) {
	t.generation, t.begin = generation, begin
	i := slices.IndexFunc(files, func(id identity) bool { return id.Generation >= generation })
	if i < 0 { // no registry was kept
		if begin > info.Size() {
			t.anew("the file is shorter than at the last checkpoint; it is read from its beginning")
		}
		return
	}
	if files[i].Generation > generation { // of a state that is much older than the registry
		t.anew("the file in which the state stands is long forgotten; those after it are read from their beginning")
	}
	if id := files[i]; id.Generation == generation && id.Head == 0 && begin == 0 && i > 0 && t.resumeBehind(files[i-1], generation, info) {
		return
	}
	for _, id := range files[i:] {
		if id.Generation != generation {
			begin = 0
			if id.Head == 0 && len(t.next) > 0 {
				// It was seen while it was empty: its place on the disk alone may by now be that of a file
				// written later. So it is found as those are that nobody saw, by its name and time behind the one before it.
				t.f.registry.cut(t.path, id.Generation)
				break
			}
		}
		c := id.find(t.path, begin)
		if c == nil {
			t.s.gaps.Add(1)
			t.s.log.Warn("a file that was not read to its end is gone, truncated, or not to be found under another name: what it held is lost",
				"path", t.path, "from_byte", begin)
			continue
		}
		t.next = append(t.next, c)
	}
	if len(t.next) == 0 { // the path has another file, or none that begins as it did
		t.generation, t.begin = files[len(files)-1].Generation+1, 0
	}
}

// resumeBehind goes on where a state stands before the first line of a file that was empty when it was seen: with
// those that rotation has made since the file before it, since its place on the disk alone does not tell which of them it is.
// It is false when there are none: then it is the path's own.
func (t *tail) resumeBehind(before identity, generation int64, current os.FileInfo) bool {
	newest := before.find(t.path, 0)
	if newest == nil {
		return false
	}
	defer newest.close()
	t.f.registry.cut(t.path, generation)
	for i, c := range t.unseen(newest, current) {
		c.generation = generation + int64(i)
		t.next = append(t.next, c)
	}
	return len(t.next) > 0
}

// anew begins the path's file in a new generation, because of something lost.
func (t *tail) anew(why string) {
	t.generation++
	t.begin = 0
	t.s.gaps.Add(1)
	t.s.log.Warn(why, "path", t.path)
}

// between has files read that the path had after the newest that is known and before its current one.
func (t *tail) between(ctx context.Context, newest *content, current os.FileInfo) error {
	for _, c := range t.unseen(newest, current) {
		if err := t.queue(ctx, c, newest.generation+1); err != nil {
			return err
		}
	}
	return nil
}

// unseen opens files that the path had after the newest that is known and before its current one,
// while nobody looked, the oldest first: rotation gave them other names, and they were last written after that one.
func (t *tail) unseen(newest *content, current os.FileInfo) (found []*content) {
	after := newest.info.ModTime()
	if info, err := newest.file.Stat(); err == nil {
		after = info.ModTime()
	}
	for name, home := range neighbours(t.path) {
		info, err := os.Stat(name)
		if err != nil || !rotated(home, name) || info.ModTime().Before(after) || os.SameFile(info, current) || t.f.owned(name, info) {
			continue
		}
		c, err := openContent(name)
		if err != nil {
			t.s.log.Warn("a file that rotation left cannot be opened", "path", name, "error", err)
			continue
		}
		if err := c.seek(0); err != nil || t.had(c) {
			c.close()
			continue
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b *content) int {
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), cmp.Compare(b.file.Name(), a.file.Name()))
	})
	return found
}

// had tells whether a file is one that the path had, or a copy of one, such as a compressed one beside it.
func (t *tail) had(c *content) bool {
	files, _ := t.f.registry.files(t.path)
	return slices.ContainsFunc(files, func(id identity) bool {
		return id.Head >= headEnough && id.begins(c) || id.here(c.info) && id.begins(c)
	})
}

// owned tells whether a file is followed, or another path's.
func (f *follower) owned(name string, info os.FileInfo) bool {
	return f.tails[name] != nil || f.standing(name) == 1 || f.known(name, info)
}
