package rules

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Load reads the selected items of the roots. What it returns depends on the
// files alone: the order of parsing does not show.
//
// Folders that cannot be read and entries of the options that name nothing
// are always errors. A broken rule, a collection's member that does not exist and a
// missing data file are errors (of type *Error or Errors) when opts.Strict is set; otherwise that rule
// is left out and its error, one for each rule, stands in Set.Skipped.
func Load(opts Options) (*Set, error) {
	if len(opts.Roots) == 0 {
		return nil, fmt.Errorf("rules: no folder of rules is given")
	}
	index, err := opts.Index, error(nil)
	if index == nil {
		if index, err = Find(opts.Roots...); err != nil {
			return nil, err
		}
	}
	chosen, err := choose(&opts, index)
	if err != nil {
		return nil, err
	}
	l := &loader{opts: &opts, finder: newFinder(&opts), set: &Set{}, broken: chosen.broken}
	for _, k := range kinds() {
		items := chosen.ofKind(k)
		l.set.Items = append(l.set.Items, items...)
		if k == Collections {
			continue // followed already
		}
		for _, c := range parseAll(items, opts.maxFileBytes()) {
			l.take(k, c)
		}
	}
	return l.finish()
}

// loader gathers the contents of files, in order, into a set.
type loader struct {
	opts   *Options
	finder *finder
	set    *Set
	broken []Errors
}

// parseAll parses files side by side; the result has their order.
func parseAll(items []Item, limit int64) []content {
	out := make([]content, len(items))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, it := range items {
		g.Go(func() error {
			src, err := readBounded(it.Path, limit)
			if err != nil {
				out[i] = content{broken: []Errors{{toError(it.Path, err)}}}
				return nil
			}
			out[i] = parseFile(it.Kind, it.Stage, it.Path, src)
			return nil
		})
	}
	_ = g.Wait() // faults are part of the contents
	return out
}

// take adds a file's rules to the set, without those whose data is missing.
func (l *loader) take(k Kind, c content) {
	l.broken = append(l.broken, c.broken...)
	for _, n := range c.nodes {
		if !l.dataThere(n.Name, n.allData()) {
			continue
		}
		if k == Postoverflows {
			l.set.Postoverflows = append(l.set.Postoverflows, n)
			continue
		}
		l.set.Parsers = append(l.set.Parsers, n)
	}
	for _, s := range c.scenarios {
		if l.dataThere(s.Name, s.Data) {
			l.set.Scenarios = append(l.set.Scenarios, s)
		}
	}
	l.set.Contexts = append(l.set.Contexts, c.contexts...)
}

func (l *loader) dataThere(rule string, data []Data) bool {
	if errs := l.finder.missing(rule, data); len(errs) > 0 {
		l.broken = append(l.broken, errs)
		return false
	}
	l.finder.list(data)
	return true
}

// finish completes the set and decides what the faults mean.
func (l *loader) finish() (*Set, error) {
	slices.SortStableFunc(l.broken, func(a, b Errors) int { return comparePos(a[0].Pos, b[0].Pos) })
	if l.opts.Strict && len(l.broken) > 0 {
		all := slices.Concat(l.broken...)
		return nil, all.asError()
	}
	for _, errs := range l.broken {
		err := errs.asError()
		l.set.Skipped = append(l.set.Skipped, err)
		if l.opts.Logger != nil {
			l.opts.Logger.Warn("rule left out", "rule", errs[0].Rule, "error", err)
		}
	}
	l.set.Contexts = mergeContexts(l.set.Contexts)
	l.set.Data = l.finder.files
	for _, root := range l.opts.Roots {
		dir := filepath.Join(root, "patterns")
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			l.set.PatternDirs = append(l.set.PatternDirs, dir)
		}
	}
	return l.set, nil
}

func comparePos(a, b Pos) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
