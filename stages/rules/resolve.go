package rules

import (
	"fmt"
	"slices"
	"strings"
)

// selection is the set of items to load.
type selection struct {
	opts   *Options
	index  *Index
	chosen map[string]Item // by path
	broken []Errors
	// done and open are collections by path: followed, and being followed.
	done map[string]bool
	open []Item
}

// choose selects items as the options say. An entry of the options that
// names nothing is an error, whatever Strict says: it is the user's own.
func choose(opts *Options, index *Index) (*selection, error) {
	s := &selection{opts: opts, index: index, chosen: map[string]Item{}, done: map[string]bool{}}
	if opts.everything() {
		for _, e := range index.broken {
			s.broken = append(s.broken, Errors{e})
		}
		for _, it := range index.Items() {
			s.add(it)
		}
		return s, nil
	}
	for _, k := range kinds() {
		for _, entry := range opts.selected(k) {
			if entry == "" { // hub tests write empty entries
				continue
			}
			items, err := s.named(k, entry)
			if err != nil {
				return nil, err
			}
			for _, it := range items {
				s.add(it)
			}
		}
	}
	return s, nil
}

// named finds the items of an entry of the options: a path or a name.
func (s *selection) named(k Kind, entry string) ([]Item, error) {
	if isYAML(entry) {
		it, err := itemAt(k, entry, s.opts.pathRoots())
		if err != nil {
			return nil, err
		}
		return []Item{it}, nil
	}
	items := s.index.Lookup(k, entry)
	if len(items) == 0 {
		hint := ""
		if near := s.index.Suggest(k, entry); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, fmt.Errorf("rules: no %s %q below %s%s", k.one(), entry, strings.Join(s.opts.Roots, ", "), hint)
	}
	return items, nil
}

// one is the kind's word for a single item.
func (k Kind) one() string { return strings.TrimSuffix(string(k), "s") }

// add selects an item; of a collection, its members.
func (s *selection) add(it Item) {
	if _, ok := s.chosen[it.Path]; ok && it.Kind != Collections {
		return
	}
	s.chosen[it.Path] = it
	if it.Kind == Collections {
		s.follow(it)
	}
}

// follow selects the members of a collection.
func (s *selection) follow(it Item) {
	if s.done[it.Path] {
		return
	}
	s.open = append(s.open, it)
	defer func() {
		s.open = s.open[:len(s.open)-1]
		s.done[it.Path] = true
	}()
	src, err := readBounded(it.Path, s.opts.maxFileBytes())
	if err != nil {
		s.broken = append(s.broken, Errors{toError(it.Path, err)})
		return
	}
	c := parseFile(Collections, "", it.Path, src)
	s.broken = append(s.broken, c.broken...)
	lines := newSource(it.Path, src)
	for _, m := range c.members {
		if e := s.member(m); e != nil {
			e.Rule = it.Name
			e.Source = lines.excerpt(e.Pos.Line)
			s.broken = append(s.broken, Errors{e})
		}
	}
}

// member selects one member; what is wrong with it is told at its line.
func (s *selection) member(m member) *Error {
	items := s.index.Lookup(m.kind, m.name.Value)
	if len(items) == 0 {
		return &Error{Pos: m.name.Pos, Message: fmt.Sprintf("the collection names %s %q, which no root has", m.kind.one(), m.name.Value),
			Suggestion: s.index.Suggest(m.kind, m.name.Value)}
	}
	for _, it := range items {
		if i := slices.IndexFunc(s.open, func(o Item) bool { return o.Path == it.Path }); i >= 0 {
			chain := ""
			for _, o := range s.open[i:] {
				chain += o.Name + " → "
			}
			return &Error{Pos: m.name.Pos, Message: "the collection holds itself: " + chain + it.Name}
		}
		s.add(it)
	}
	return nil
}

// ofKind lists the selected items of a kind in the order in which they run.
func (s *selection) ofKind(k Kind) []Item {
	var out []Item
	for _, it := range s.chosen {
		if it.Kind == k {
			out = append(out, it)
		}
	}
	slices.SortFunc(out, itemOrder)
	return out
}
