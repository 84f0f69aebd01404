package blocklist

import (
	"errors"
	"fmt"
	"io"
	"time"

	"sluice/pipeline/decisions"
)

// Item is what a list says about one value, in the form that is kept.
type Item struct {
	Scope, Value, Type string
	// Length is the item's own duration, or the configuration's.
	Length time.Duration
}

// Report says what was found in a list.
type Report struct {
	// Items were read, repeats included.
	Items int
	// Malformed lines were skipped; First says where the first is and what is wrong with it.
	Malformed int
	First     error
	// Own tells whether items have durations of their own.
	Own bool
}

// ErrEmpty says that a list has no items.
var ErrEmpty = errors.New("it holds no items; set allow_empty: true if that is meant")

// Load reads a whole list and calls take with its items. With an error the list
// is not to be believed, whatever take was given before.
func Load(in io.Reader, c Config, take func(Item) error) (Report, error) {
	c = c.Complete()
	var found Report
	o := Options{Format: c.Format, Type: c.Type, Scope: c.Scope, Skip: func(err error) error {
		if found.Malformed++; found.First == nil {
			found.First = err
		}
		if found.Malformed > max(c.MaxMalformed, 0) {
			return fmt.Errorf("more than %d lines are no items; the first: %w", max(c.MaxMalformed, 0), found.First)
		}
		return nil
	}}
	err := Read(in, o, func(d Decision) error {
		if found.Items++; found.Items > c.MaxEntries {
			return fmt.Errorf("it has more than max_entries, %d", c.MaxEntries)
		}
		item := Item{Type: d.Type, Length: c.Duration}
		if d.Duration != "" {
			own, ok := length(d.Duration)
			if !ok {
				return o.Skip(fmt.Errorf("item %d: %q is no duration such as 4h", found.Items, d.Duration))
			}
			found.Own, item.Length = true, own
		}
		kept, err := decisions.Canonical(decisions.Decision{Scope: d.Scope, Value: d.Value, Type: d.Type})
		if err != nil {
			return o.Skip(fmt.Errorf("item %d: %w", found.Items, err))
		}
		item.Scope, item.Value = kept.Scope, kept.Value
		return take(item)
	})
	if err == nil && found.Items == 0 && !c.AllowEmpty {
		err = ErrEmpty
	}
	return found, err
}
