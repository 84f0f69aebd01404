package sources

import (
	"fmt"
	"os"
	"regexp"
	"strconv"

	"sluice/pipeline/component"
)

// Share is one process's part of what a source reads, for kinds that are dealt
// to several processes by their configurations. Each kind says what is dealt and how.
type Share struct {
	// Ordinal is this process's number among those that share, from 0. `auto`
	// takes the number that the host's name ends with, as the pods of a
	// StatefulSet have it: 2 for sluice-2.
	Ordinal Ordinal `yaml:"ordinal"`
	// Count is how many processes share; 0 is no sharing.
	Count int32 `yaml:"count"`
}

// Ordinal is a process's number among those that share, from 0, or AutoOrdinal.
type Ordinal int32

// AutoOrdinal, written auto, is the number that the host's name ends with, as
// the pods of a StatefulSet have it: 2 for sluice-2.
const AutoOrdinal Ordinal = -1

// UnmarshalText reads a number or auto.
func (o *Ordinal) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*o = AutoOrdinal
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is neither a number from 0 nor auto", text)
	}
	*o = Ordinal(n)
	return nil
}

// Validate checks the share. It blames the key share.
func (s Share) Validate() error {
	switch {
	case s.Count < 0 || s.Count == 0 && s.Ordinal != 0:
		return component.Invalid("share", "count is how many processes share: at least 1")
	case s.Count > 0 && s.Ordinal != AutoOrdinal && (s.Ordinal < 0 || int32(s.Ordinal) >= s.Count):
		return component.Invalid("share", "the ordinal counts from 0 to one less than count")
	}
	return nil
}

// Resolve finds the ordinal of AutoOrdinal. Call it from Run, since a
// configuration may be checked on another host.
func (s *Share) Resolve() error {
	if s.Count == 0 || s.Ordinal != AutoOrdinal {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("share: ordinal: auto: the host's name is unknown: %w", err)
	}
	if s.Ordinal, err = ordinalOf(host); err != nil {
		return err
	}
	return s.Validate()
}

var trailingNumber = regexp.MustCompile(`-([0-9]+)$`)

// ordinalOf returns the number that a host's name, without its domain, ends with.
func ordinalOf(host string) (Ordinal, error) {
	var o Ordinal
	name := regexp.MustCompile(`^[^.]*`).FindString(host)
	m := trailingNumber.FindStringSubmatch(name)
	if m == nil || o.UnmarshalText([]byte(m[1])) != nil {
		return 0, fmt.Errorf("share: ordinal: auto needs a host name that ends with a number, such as sluice-2; this host is %q", host)
	}
	return o, nil
}
