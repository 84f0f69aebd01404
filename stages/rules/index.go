package rules

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is a kind of item; its text is the folder's name.
type Kind string

// The kinds of item.
const (
	Parsers       Kind = "parsers"
	Postoverflows Kind = "postoverflows"
	Scenarios     Kind = "scenarios"
	Contexts      Kind = "contexts"
	Collections   Kind = "collections"
)

func kinds() []Kind {
	return []Kind{Parsers, Postoverflows, Scenarios, Contexts, Collections}
}

// staged tells whether the kind's folder has a folder for each stage.
func (k Kind) staged() bool { return k == Parsers || k == Postoverflows }

// Item is one rule file.
type Item struct {
	Kind  Kind
	Name  string // author/file without the ending
	Stage string // parsers and postoverflows only
	Path  string // as it is opened
	Root  string // the root it comes from, "" for a file named by path
	// Replaces is the file of an earlier root that this one hides, or "".
	Replaces string

	order string // path below the kind's folder, with the ending
}

// Index knows the items of some roots.
type Index struct {
	items  map[Kind]map[string][]Item
	broken Errors
}

// Find lists the items of hub-shaped folders, those hidden by a later root
// left out. A root that cannot be read, or that holds no folder of rules, is an error.
func Find(roots ...string) (*Index, error) {
	x := &Index{items: map[Kind]map[string][]Item{}}
	for _, k := range kinds() {
		x.items[k] = map[string][]Item{}
	}
	for _, root := range roots {
		if err := x.addRoot(root); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *Index) addRoot(root string) error {
	if st, err := os.Stat(root); err != nil {
		return fmt.Errorf("rules: folder %q cannot be read: %w", root, err)
	} else if !st.IsDir() {
		return fmt.Errorf("rules: %q is a file; give the folder that holds parsers/ and scenarios/", root)
	}
	found := false
	for _, k := range kinds() {
		dir := filepath.Join(root, string(k))
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		found = true
		fresh := map[string][]Item{}
		err := walk(dir, "", 0, func(rel string) {
			it, ok := newItem(k, rel, filepath.Join(dir, filepath.FromSlash(rel)))
			if !ok {
				x.broken = append(x.broken, &Error{Pos: Pos{File: it.Path},
					Message: fmt.Sprintf("the file stands beside the stage folders of %s/; move it into one of them", k)})
				return
			}
			it.Root = root
			fresh[it.Name] = append(fresh[it.Name], it)
		})
		if err != nil {
			return fmt.Errorf("rules: %s cannot be listed: %w", dir, err)
		}
		for name, items := range fresh {
			if old := x.items[k][name]; len(old) > 0 {
				for i := range items {
					items[i].Replaces = old[0].Path
				}
			}
			x.items[k][name] = items
		}
	}
	if !found {
		return fmt.Errorf("rules: %q holds none of parsers/, scenarios/, postoverflows/, collections/ or contexts/", root)
	}
	return nil
}

// maxFolderDepth bounds the walk below a kind's folder, so that a link to a
// folder above cannot make it endless.
const maxFolderDepth = 6

// walk calls f with each YAML file below dir, by its slash-separated
// path. Links are followed (CrowdSec installs items as links); names that begin with a dot are not read.
func walk(dir, rel string, depth int, f func(rel string)) error {
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(rel)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		sub := path.Join(rel, e.Name())
		isDir := e.IsDir()
		if e.Type()&os.ModeSymlink != 0 {
			st, err := os.Stat(filepath.Join(dir, filepath.FromSlash(sub)))
			if err != nil {
				return err
			}
			isDir = st.IsDir()
		}
		if isDir {
			if depth < maxFolderDepth {
				if err := walk(dir, sub, depth+1, f); err != nil {
					return err
				}
			}
			continue
		}
		if isYAML(e.Name()) {
			f(sub)
		}
	}
	return nil
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// newItem makes an item from its path below the kind's folder; ok is false
// when a stage folder is missing.
func newItem(k Kind, rel, file string) (it Item, ok bool) {
	it = Item{Kind: k, Path: file, order: rel}
	if k.staged() {
		stage, rest, found := strings.Cut(rel, "/")
		if !found {
			return it, false
		}
		it.Stage, rel = stage, rest
	}
	it.Name = strings.TrimSuffix(rel, path.Ext(rel))
	return it, true
}

// itemAt makes an item from a path entry, such as
// ./parsers/s01-parse/author/file.yaml, below the first of roots that has the
// file. Kind and stage come from the path.
func itemAt(k Kind, entry string, roots []string) (Item, error) {
	rel := path.Clean("/" + filepath.ToSlash(entry))[1:]
	forms := []string{rel}
	if after, ok := strings.CutPrefix(rel, ".tests/"); ok {
		forms = append(forms, "tests/"+after)
	}
	for _, root := range roots {
		for _, form := range forms {
			file := filepath.Join(root, filepath.FromSlash(form))
			if st, err := os.Stat(file); err != nil || st.IsDir() {
				continue
			}
			return itemOfFile(k, form, file)
		}
	}
	return Item{}, fmt.Errorf("rules: no file %q below %s", entry, strings.Join(roots, ", "))
}

// itemOfFile derives name and stage from the part of the path behind the
// last folder that is named like the kind.
func itemOfFile(k Kind, form, file string) (Item, error) {
	parts := strings.Split(form, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i] != string(k) {
			continue
		}
		it, ok := newItem(k, path.Join(parts[i+1:]...), file)
		if !ok {
			break
		}
		return it, nil
	}
	if k.staged() {
		return Item{}, fmt.Errorf("rules: %q has no stage; its path must hold %s/<stage>/", form, k)
	}
	it, _ := newItem(k, form, file)
	return it, nil
}

// Items lists every item, sorted by kind, stage and name.
func (x *Index) Items() []Item {
	var out []Item
	for _, k := range kinds() {
		out = append(out, x.kind(k)...)
	}
	return out
}

// kind lists the items of one kind in the order in which they run.
func (x *Index) kind(k Kind) []Item {
	var out []Item
	for _, items := range x.items[k] {
		out = append(out, items...)
	}
	slices.SortFunc(out, itemOrder)
	return out
}

// itemOrder is the order of FIDELITY 1 within one kind: stage, then base file
// name, then path for parsers; the path alone for the others.
func itemOrder(a, b Item) int {
	if a.Kind.staged() {
		if c := cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(path.Base(a.order), path.Base(b.order))); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Path, b.Path))
}

// Lookup returns the items of a kind and name: none, one, or several when
// more than one stage has the name.
func (x *Index) Lookup(k Kind, name string) []Item { return x.items[k][name] }

// Suggest returns the name of a kind that is nearest to a wrong one, or "".
func (x *Index) Suggest(k Kind, name string) string {
	names := make([]string, 0, len(x.items[k]))
	for n := range x.items[k] {
		names = append(names, n)
	}
	slices.Sort(names)
	if s := nearest(name, names); s != "" {
		return s
	}
	// The author may be missing or another.
	for _, n := range names {
		if path.Base(n) == path.Base(name) {
			return n
		}
	}
	return ""
}
