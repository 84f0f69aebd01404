package component

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"
)

// Kind declares one type of component: configuration C, environment E (what
// the runtime lends to it), product T (a source or a sink).
type Kind[C, E, T any] struct {
	// Type is what `type:` names, such as "kafka".
	Type string
	// Summary is one sentence for lists.
	Summary string
	// Description is prose in Markdown for the reference page.
	Description string
	// Example is a YAML mapping that decodes without error.
	Example string
	// Delivery says in a word or two what is promised of each record across a
	// crash, such as "exactly once"; a component that promises nothing leaves it empty.
	Delivery string
	// Default returns the configuration before the file's keys are laid over
	// it. If C (or *C) has a method Validate() error, it is called afterwards.
	Default func() C
	// New makes the component. It checks what needs no outside and connects to
	// nothing: that is for the component's first call.
	New func(name string, config C, env E) (T, error)
}

// Info describes a registered kind, for reference pages and linters.
type Info struct {
	Type, Summary, Description, Example, Delivery string
	// Default is the kind's configuration with its defaults.
	Default any
}

type entry[E, T any] struct {
	info Info
	make func(name string, node ast.Node, env E) (T, error)
}

// Registry holds the kinds of one sort of component. It is filled while the
// program starts, by blank imports, and only read after that.
type Registry[E, T any] struct {
	// Noun is the sort, for errors: "source", "sink".
	Noun string

	mu    sync.Mutex
	kinds map[string]entry[E, T]
}

// Register adds a kind to a registry. The first of two kinds of one name
// stays: Registry.New says so when the name is used.
func Register[C, E, T any](r *Registry[E, T], k Kind[C, E, T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kinds == nil {
		r.kinds = make(map[string]entry[E, T])
	}
	if _, twice := r.kinds[k.Type]; twice {
		noun := r.Noun
		r.kinds[k.Type] = entry[E, T]{
			info: r.kinds[k.Type].info,
			make: func(string, ast.Node, E) (t T, err error) {
				return t, fmt.Errorf("the %s type %q is registered twice: two packages of this program use the name", noun, k.Type)
			},
		}
		return
	}
	r.kinds[k.Type] = entry[E, T]{
		info: Info{Type: k.Type, Summary: k.Summary, Description: k.Description, Example: k.Example, Delivery: k.Delivery, Default: k.Default()},
		make: func(name string, node ast.Node, env E) (t T, err error) {
			config := k.Default()
			if err := Decode(node, &config); err != nil {
				return t, err
			}
			return k.New(name, config, env)
		},
	}
}

// New makes the component that a configuration mapping describes. Errors in
// the mapping are *ConfigError.
func (r *Registry[E, T]) New(node ast.Node, env E) (t T, err error) {
	taken, rest, err := Take(node, "type", "name")
	if err != nil {
		return t, err
	}
	typ, ok := taken["type"]
	if !ok {
		return t, errorAt(node, fmt.Sprintf("this %s has no type; set type: to one of %s", r.Noun, strings.Join(r.Types(), ", ")), "")
	}
	kind, err := scalar(typ, "type")
	if err != nil {
		return t, err
	}
	name := kind
	if n, ok := taken["name"]; ok {
		if name, err = scalar(n, "name"); err != nil {
			return t, err
		}
	}
	r.mu.Lock()
	e, known := r.kinds[kind]
	r.mu.Unlock()
	if !known {
		return t, errorAt(typ, fmt.Sprintf("there is no %s of type %q; known are %s", r.Noun, kind, strings.Join(r.Types(), ", ")),
			Nearest(kind, r.Types()))
	}
	return e.make(name, rest, env)
}

// Make makes a component of a kind out of a mapping that holds the kind's keys
// alone. It is for places of a configuration where the kind is told otherwise.
func (r *Registry[E, T]) Make(kind, name string, node ast.Node, env E) (t T, err error) {
	r.mu.Lock()
	e, known := r.kinds[kind]
	r.mu.Unlock()
	if !known {
		return t, errorAt(node, fmt.Sprintf("there is no %s of type %q; known are %s", r.Noun, kind, strings.Join(r.Types(), ", ")), "")
	}
	return e.make(name, node, env)
}

// Types returns the names of the kinds, sorted.
func (r *Registry[E, T]) Types() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.kinds))
}

// Describe describes the kind that a configuration mapping names; false when it names none that is known.
func (r *Registry[E, T]) Describe(node ast.Node) (Info, bool) {
	taken, _, err := Take(node, "type")
	if err != nil || taken["type"] == nil {
		return Info{}, false
	}
	kind, err := scalar(taken["type"], "type")
	if err != nil {
		return Info{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, known := r.kinds[kind]
	return e.info, known
}

// Kinds describes the kinds, sorted by type.
func (r *Registry[E, T]) Kinds() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Info, 0, len(r.kinds))
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		out = append(out, r.kinds[name].info)
	}
	return out
}
