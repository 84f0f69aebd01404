package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// reference is ${NAME}, ${NAME:-default} or ${file:PATH}.
var reference = regexp.MustCompile(`\$\{(?:file:([^}\n]+)|([A-Za-z_][A-Za-z0-9_]*)(:-([^}\n]*))?)\}`)

// expand replaces references to environment variables and to files that hold a
// secret. A variable that is not set and has no default is an error. Lines of comment stay as they are.
func expand(data []byte) ([]byte, error) {
	var missing error
	out := make([]byte, 0, len(data))
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			out = append(out, line...)
			continue
		}
		line, err := expandLine(line)
		if missing == nil {
			missing = err
		}
		out = append(out, line...)
	}
	return out, missing
}

func expandLine(line []byte) ([]byte, error) {
	var missing error
	out := reference.ReplaceAllFunc(line, func(ref []byte) []byte {
		m := reference.FindSubmatch(ref)
		if len(m[1]) > 0 {
			text, err := secretIn(string(m[1]))
			if missing == nil {
				missing = err
			}
			return text
		}
		if v, ok := os.LookupEnv(string(m[2])); ok && v != "" {
			return []byte(v)
		}
		if m[3] == nil && missing == nil {
			missing = fmt.Errorf("the environment variable %s is not set; set it or write ${%s:-default}", m[2], m[2])
		}
		return m[4]
	})
	return out, missing
}

// secretIn returns the one line that a file holds, as secrets of containers are given.
func secretIn(path string) ([]byte, error) {
	text, err := os.ReadFile(strings.TrimSpace(path))
	if err == nil {
		if text = bytes.TrimRight(text, "\r\n"); bytes.ContainsAny(text, "\r\n") {
			err = errors.New("it holds more than one line")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("${file:%s}: %w", path, err)
	}
	return text, nil
}
