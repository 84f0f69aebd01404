package funcs

// This file fixes the package's API; see doc.go.

// Data holds the data files that rules read: loaded once, read by many goroutines.
type Data struct{}

// NewData returns an empty store.
func NewData() *Data { panic("unimplemented") }

// LoadOptions are the cache settings of a data: entry.
type LoadOptions struct {
	Cache    *bool
	Strategy string
	Size     int
	TTLNanos int64
}

// Load reads a file under the name that expressions use (dest_file). kind is
// string, regexp, map or bots; a second load of the same name and kind is
// ignored (FIDELITY 10). An error names file and line.
func (d *Data) Load(name, path, kind string, opts LoadOptions) error { panic("unimplemented") }

// Function is a helper that rules may call.
type Function struct {
	Name string
	// Call gets the arguments as the VM has them. It must not keep them.
	Call func(args ...any) (any, error)
	// Types are function signatures for the checker, as expr.Function takes them: new(func(string) string).
	Types []any
	// Pure: same arguments, same result, no effect: may be folded, shared and indexed.
	Pure bool
	// Writes: it writes into a map argument (UnmarshalJSON, ParseKV and kin).
	Writes bool
	// Outside: it reads a clock or the outside.
	Outside bool
	// String1 is a fast form for a pure func(string) string, or nil.
	String1 func(string) string
}

// Table returns the helpers, bound to a data store, sorted by name. The
// helpers that need the running event's Context (stash, decisions) are not
// in it: package expression adds them.
func Table(d *Data) []Function { panic("unimplemented") }
