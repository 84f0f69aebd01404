package grok

// This file fixes the package's API; see doc.go.

// Library is a set of named patterns. A child made by Scope sees its
// parent's names. A Library is not for concurrent use while it is added to.
type Library struct{}

// NewLibrary returns the base library: our own writing of the usual names.
func NewLibrary() *Library { panic("unimplemented") }

// LoadDir adds every pattern file of a folder (lines "NAME pattern", # comments).
func (l *Library) LoadDir(dir string) error { panic("unimplemented") }

// Add defines a name, replacing none that is there (an error).
func (l *Library) Add(name, pattern string) error { panic("unimplemented") }

// Scope returns a child library for one rule file's pattern_syntax. Its
// names cannot redefine the parent's: the parent's definition stands (FIDELITY 5).
func (l *Library) Scope() *Library { panic("unimplemented") }

// Has tells whether a name is defined.
func (l *Library) Has(name string) bool { panic("unimplemented") }

// Compile builds the fast matcher of an expression such as "^%{IP:src} %{GREEDYDATA:rest}".
func (l *Library) Compile(expr string) (*Pattern, error) { panic("unimplemented") }

// CompileReference builds the plain matcher: the standard regexp. The fast one must equal it.
func (l *Library) CompileReference(expr string) (*Reference, error) { panic("unimplemented") }

// Pattern is a compiled expression; it is immutable and safe for concurrent use.
type Pattern struct{}

// Names returns the names of the captures, each once, in the order in which they appear.
func (p *Pattern) Names() []string { panic("unimplemented") }

// Literals returns strings of which every matching line holds all; nil when none is known.
func (p *Pattern) Literals() []string { panic("unimplemented") }

// Match searches s, unanchored, leftmost-first. On success captures[i]
// is the text captured for Names()[i], a part of s ("" when the last
// occurrence of the name took no part). captures must have len(Names()).
// A Scratch belongs to one goroutine.
func (p *Pattern) Match(s string, captures []string, scratch *Scratch) bool { panic("unimplemented") }

// Scratch is a goroutine's working memory, usable with every Pattern.
type Scratch struct{}

// Reference is the plain matcher of an expression.
type Reference struct{}

// Names is as Pattern's.
func (r *Reference) Names() []string { panic("unimplemented") }

// Match is as Pattern's.
func (r *Reference) Match(s string, captures []string) bool { panic("unimplemented") }
