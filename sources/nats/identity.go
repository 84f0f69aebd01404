package nats

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// identity remembers beside the state when the stream was made that the
// state's position is one of: a stream that was deleted and made anew under the same name counts from 1 again.
type identity struct{ path string } // "" where no state is kept

func newIdentity(dir, source string) identity {
	if dir == "" {
		return identity{}
	}
	return identity{filepath.Join(dir, url.PathEscape(source), "stream")}
}

// load returns when the stream was made; the zero time when that is not known.
func (i identity) load() (time.Time, error) {
	if i.path == "" {
		return time.Time{}, nil
	}
	text, err := os.ReadFile(i.path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading when the stream was made: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Time{}, nil // half written by a crash: as if it had not been
	}
	return at, nil
}

// save remembers it.
func (i identity) save(at time.Time) error {
	if i.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(i.path), 0o700); err != nil {
		return fmt.Errorf("remembering when the stream was made: %w", err)
	}
	if err := os.WriteFile(i.path, []byte(at.UTC().Format(time.RFC3339Nano)+"\n"), 0o600); err != nil {
		return fmt.Errorf("remembering when the stream was made: %w", err)
	}
	return nil
}
