package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sources"
)

// writer is what appends to a file.
type writer struct {
	name string // as errors call it
	path string
	at   place // of the key path
}

// checkFiles refuses two writers of one file, who would rotate it away from
// each other, and a source that reads what the pipeline itself writes.
func (p *Pipeline) checkFiles() error {
	writers := p.writers()
	for i, w := range writers {
		for _, before := range writers[:i] {
			if oneFile(before.path, w.path) {
				return w.at.refused("path: %s writes the file %s, and so does %s (path: %s); give each a file of its own",
					w.name, w.path, before.name, before.path)
			}
		}
	}
	for i, s := range p.sources {
		reader, ok := s.(sources.FileReader)
		if !ok {
			continue
		}
		for _, w := range writers {
			if reader.Reads(w.path) {
				return keyPlace(p.config.sources[i], "paths").refused("paths: source %s reads the file %s, which %s writes (path), so that what is written is read as lines again; "+
					"name the file under exclude, or write another one", s.Name(), w.path, w.name)
			}
		}
	}
	return nil
}

// writers returns the sinks, and the place for dead letters, that write files.
func (p *Pipeline) writers() (all []writer) {
	add := func(name string, of any, node ast.Node) {
		if f, ok := of.(sinks.FileWriter); ok && f.File() != "" {
			all = append(all, writer{name, f.File(), keyPlace(node, "path")})
		}
	}
	for i, s := range p.sinks {
		add("sink "+s.Name(), s, p.config.sinks[i])
	}
	if p.dead != nil {
		add("dead_letters", p.dead, p.config.deadLetters.place)
	}
	return all
}

// keyPlace is where the value of a mapping's key stands, or the mapping.
func keyPlace(node ast.Node, key string) place {
	taken, _, err := component.Take(node, key)
	if err != nil || taken[key] == nil {
		return placeOf(node)
	}
	return placeOf(taken[key])
}

// refused is an error about the place.
func (at place) refused(format string, args ...any) error {
	return &component.ConfigError{Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
}

// oneFile tells whether two paths name one regular file, be it there yet or
// not. What is no regular file, such as a pipe, takes from many.
func oneFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return infoA.Mode().IsRegular() && os.SameFile(infoA, infoB)
	}
	if !errors.Is(errA, fs.ErrNotExist) || !errors.Is(errB, fs.ErrNotExist) || filepath.Base(a) != filepath.Base(b) {
		return false
	}
	infoA, errA = os.Stat(filepath.Dir(a))
	infoB, errB = os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
