package sources

import (
	"fmt"

	"sluice/pipeline"
	"sluice/pipeline/component"
)

// Reset is what `on_reset` says, for kinds whose input removes what is old:
// where a source goes on when what it was to read next is gone, or when its
// input was made anew. Empty leaves it to the position: see At.
type Reset string

// The words of on_reset.
const (
	ResetEarliest Reset = "earliest"
	ResetLatest   Reset = "latest"
	ResetFail     Reset = "fail"
)

// Validate checks that it is empty or one of the words. It blames the key on_reset.
func (r Reset) Validate() error {
	switch r {
	case "", ResetEarliest, ResetLatest, ResetFail:
		return nil
	}
	return component.Invalid("on_reset", "%q is none of earliest, latest, fail", string(r))
}

// At is what to do at a position: one of the words. held says that durable
// state stands there, which would miss what is gone: without a word that
// position is not given up.
func (r Reset) At(held bool) Reset {
	switch {
	case r != "":
		return r
	case held:
		return ResetFail
	}
	return ResetEarliest
}

// HeldError is what Run returns when ResetFail ends it at a position where
// durable state stands. why says what is gone, records what the input calls its records.
func HeldError(why, records string, part pipeline.Partition) error {
	return fmt.Errorf("%s, and the state stands there; give its state up with `sluice state reset --partition %s`, "+
		"or set on_reset: earliest or latest to go on with the %s between missing from it", why, part, records)
}
