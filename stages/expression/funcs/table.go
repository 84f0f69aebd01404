package funcs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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

	// The fast forms equal Call without boxed arguments. At most one is set,
	// on pure helpers that cannot fail.

	// String1 is a fast form for a pure func(string) string, or nil.
	String1 func(string) string
	// String2 is a fast form for a pure func(string, string) string, or nil.
	String2 func(a, b string) string
	// Bool1 is a fast form for a pure func(string) bool, or nil.
	Bool1 func(string) bool
	// Bool2 is a fast form for a pure func(string, string) bool, or nil.
	Bool2 func(a, b string) bool
}

// Options are what helpers may ask beside the data files.
type Options struct {
	// Geo serves GeoIPEnrich and kin. Without one they give nil, as CrowdSec's without databases.
	Geo GeoReader
	// Resolver serves LookupHost and MatchKnownBot; nil is NewResolver().
	Resolver Resolver
}

// Table returns the helpers, bound to a data store, sorted by name. The
// helpers that need the running event's Context (stash, decisions) are not
// in it: package expression adds them. Load the data files first: a call with
// constant arguments may be folded.
func Table(d *Data) []Function { return TableWith(d, Options{}) }

// TableWith is Table with what the helpers may ask.
func TableWith(d *Data, opts Options) []Function {
	if opts.Resolver == nil {
		opts.Resolver = NewResolver()
	}
	var t []Function
	t = append(t, stringTable()...)
	t = append(t, listTable()...)
	t = append(t, uriTable()...)
	t = append(t, networkTable(opts.Resolver)...)
	t = append(t, geoTable(opts.Geo)...)
	t = append(t, jsonTable()...)
	t = append(t, kvTable()...)
	t = append(t, xmlTable()...)
	t = append(t, timeTable()...)
	t = append(t, libInjectionTable()...)
	t = append(t, dataTable(d)...)
	t = append(t, botTable(d, opts.Resolver)...)
	t = append(t, unsupportedTable()...)
	slices.SortFunc(t, func(a, b Function) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// TestTable returns the helpers that only assertions of hub tests call.
func TestTable() []Function {
	return []Function{
		pure2("FloatApproxEqual", approxEqual),
		pure1("basename", func(path any) string {
			s, _ := path.(string)
			return s[strings.LastIndexAny(s, `/\`)+1:]
		}),
	}
}

func approxEqual(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

// The constructors below wrap a typed function. The checker has made sure of
// the arguments' types where it could; where an argument's type was unknown
// to it, a wrong one is an error here.

func pure1[A, R any](name string, f func(A) R) Function {
	fn := Function{Name: name, Pure: true, Types: []any{new(func(A) R)}, Call: func(args ...any) (any, error) {
		a, err := arg[A](name, args, 0)
		if err != nil {
			return nil, err
		}
		return f(a), nil
	}}
	fn.String1, _ = any(f).(func(string) string)
	fn.Bool1, _ = any(f).(func(string) bool)
	return fn
}

func pure2[A, B, R any](name string, f func(A, B) R) Function {
	fn := Function{Name: name, Pure: true, Types: []any{new(func(A, B) R)}, Call: func(args ...any) (any, error) {
		a, err := arg[A](name, args, 0)
		if err != nil {
			return nil, err
		}
		b, err := arg[B](name, args, 1)
		if err != nil {
			return nil, err
		}
		return f(a, b), nil
	}}
	fn.String2, _ = any(f).(func(string, string) string)
	fn.Bool2, _ = any(f).(func(string, string) bool)
	return fn
}

func pure3[A, B, C, R any](name string, f func(A, B, C) R) Function {
	return Function{Name: name, Pure: true, Types: []any{new(func(A, B, C) R)}, Call: func(args ...any) (any, error) {
		a, err := arg[A](name, args, 0)
		if err != nil {
			return nil, err
		}
		b, err := arg[B](name, args, 1)
		if err != nil {
			return nil, err
		}
		c, err := arg[C](name, args, 2)
		if err != nil {
			return nil, err
		}
		return f(a, b, c), nil
	}}
}

func arg[T any](name string, args []any, i int) (T, error) {
	var zero T
	if i >= len(args) {
		return zero, fmt.Errorf("%s: argument %d is missing", name, i+1)
	}
	if args[i] == nil {
		if _, ok := any(&zero).(*any); ok {
			return zero, nil
		}
	}
	v, ok := args[i].(T)
	if !ok {
		return zero, fmt.Errorf("%s: argument %d is %T, not %T", name, i+1, args[i], zero)
	}
	return v, nil
}

func timeTable() []Function {
	return []Function{
		{Name: "TimeNow", Outside: true, Types: []any{new(func() string)}, Call: func(...any) (any, error) {
			return time.Now().UTC().Format(time.RFC3339), nil
		}},
		{Name: "ParseUnix", Pure: true, Types: []any{new(func(string) string)}, Call: func(args ...any) (any, error) {
			s, err := arg[string]("ParseUnix", args, 0)
			if err != nil {
				return nil, err
			}
			t, err := unixTime(s)
			if err != nil {
				return "", nil // CrowdSec logs and gives an empty text
			}
			return t.UTC().Format(time.RFC3339), nil
		}},
		{Name: "ParseUnixTime", Pure: true, Types: []any{new(func(string) (time.Time, error))}, Call: func(args ...any) (any, error) {
			s, err := arg[string]("ParseUnixTime", args, 0)
			if err != nil {
				return nil, err
			}
			t, err := unixTime(s)
			if err != nil {
				return nil, fmt.Errorf("ParseUnixTime: %w", err)
			}
			return t.UTC(), nil
		}},
		pure2("FloatApproxEqual", approxEqual),
		intervalFunc("AverageInterval", average),
		intervalFunc("MedianInterval", median),
	}
}

func intervalFunc(name string, of func([]time.Duration) time.Duration) Function {
	return Function{
		Name: name, Pure: true,
		Types: []any{new(func([]time.Time) time.Duration), new(func([]any) time.Duration)},
		Call: func(args ...any) (any, error) {
			times, err := timesOf(name, args)
			if err != nil {
				return nil, err
			}
			if len(times) < 2 {
				return nil, fmt.Errorf("%s: it needs at least two times", name)
			}
			slices.SortFunc(times, time.Time.Compare)
			gaps := make([]time.Duration, len(times)-1)
			for i := range gaps {
				gaps[i] = times[i+1].Sub(times[i])
			}
			return of(gaps), nil
		},
	}
}

// timesOf copies the argument: sorting must not touch the caller's list.
func timesOf(name string, args []any) ([]time.Time, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("%s: it takes one list of times", name)
	}
	switch list := args[0].(type) {
	case []time.Time:
		return slices.Clone(list), nil
	case []any:
		times := make([]time.Time, len(list))
		for i, v := range list {
			t, ok := v.(time.Time)
			if !ok {
				return nil, fmt.Errorf("%s: element %d is %T, not a time", name, i, v)
			}
			times[i] = t
		}
		return times, nil
	}
	return nil, fmt.Errorf("%s: %T is not a list of times", name, args[0])
}

func average(gaps []time.Duration) time.Duration {
	var total time.Duration
	for _, g := range gaps {
		total += g
	}
	return total / time.Duration(len(gaps))
}

func median(gaps []time.Duration) time.Duration {
	slices.Sort(gaps)
	n := len(gaps)
	if n%2 == 1 {
		return gaps[n/2]
	}
	return (gaps[n/2-1] + gaps[n/2]) / 2
}
