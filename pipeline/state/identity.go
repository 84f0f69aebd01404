package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// identityFile holds the name of a state beside its database.
const identityFile = "IDENTITY"

// openIdentity reads the name of the state in a folder, giving it one if it
// has none. A state whose name was lost gets another, which others take for
// that of another state: safe, since nobody goes on where it is not known who was before.
func openIdentity(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(text)); err == nil && len(name) == identityLength {
		return name, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the name of the state: %w", err)
	}
	name := strings.ToLower(rand.Text())[:identityLength]
	if err := writeSynced(path+".new", name+"\n"); err != nil {
		return "", fmt.Errorf("writing the name of the state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("writing the name of the state: %w", err)
	}
	return name, nil
}

const identityLength = 16

// ID returns the state's name: random, made with it, and the same at every Open.
func (s *Store) ID() string { return s.identity }
