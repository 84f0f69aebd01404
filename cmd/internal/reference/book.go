package reference

import (
	"fmt"
	"reflect"
	"strings"

	"sluice/pipeline/component"
)

// Book is one sort of component.
type Book struct {
	// Noun is the sort: "source", "sink".
	Noun string
	// Title and Introduction, in Markdown, begin the page.
	Title, Introduction string
	// Kinds are described, in this order.
	Kinds []component.Info
	// Common is a struct of the keys that every kind has, with their
	// defaults; nil when there are none, and no `type` either.
	Common any
	// Promises says that every kind must say what it promises across a crash.
	Promises bool
	// Try makes and closes a component of a kind out of a text of its keys.
	Try func(kind, keys string) error
}

// Kind is a kind with its keys.
type Kind struct {
	component.Info
	// Noun is the sort: "source", "sink".
	Noun string
	Keys []Key
	// Common are the keys that every kind of the sort has.
	Common []Key
}

// Builder describes kinds.
type Builder struct{ comments *Comments }

// NewBuilder returns a builder that reads comments in the source under a folder, that of go.mod.
func NewBuilder(root string) *Builder { return &Builder{NewComments(root)} }

// Common describes the keys that all kinds of a book have.
func (b *Builder) Common(book Book) ([]Key, error) {
	if book.Common == nil {
		return nil, nil
	}
	return b.keysOf(reflect.ValueOf(book.Common), "", map[string]bool{"type": true})
}

// Build describes the kinds of a book. An error names what a kind lacks.
func (b *Builder) Build(book Book) ([]Kind, error) {
	common, err := b.Common(book)
	if err != nil {
		return nil, err
	}
	out := make([]Kind, 0, len(book.Kinds))
	for _, info := range book.Kinds {
		k, err := b.build(book, info)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", book.Noun, info.Type, err)
		}
		k.Common = common
		out = append(out, k)
	}
	return out, nil
}

func (b *Builder) build(book Book, info component.Info) (Kind, error) {
	for _, text := range []struct {
		name, value string
	}{{"Summary", info.Summary}, {"Description", info.Description}} {
		if !strings.HasSuffix(strings.TrimSpace(text.value), ".") {
			return Kind{}, fmt.Errorf("its %s is %q, and must be sentences that end with a full stop", text.name, text.value)
		}
	}
	if book.Promises && info.Delivery == "" {
		return Kind{}, fmt.Errorf("its Delivery is empty; say what is promised of a record across a crash, such as %q", "at least once")
	}
	required, err := requiredIn(info, book.Try)
	if err != nil {
		return Kind{}, err
	}
	keys, err := b.keysOf(settle(reflect.ValueOf(info.Default)), "", required)
	if err != nil {
		return Kind{}, err
	}
	return Kind{Info: info, Noun: book.Noun, Keys: keys}, nil
}
