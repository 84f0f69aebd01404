package outbox

import "fmt"

// Policy says what happens when more waits for a sink than its quota allows.
type Policy string

// The policies.
const (
	Block      Policy = "block"       // the sources wait for the sink
	DeadLetter Policy = "dead_letter" // the oldest that wait go to the dead letters
	DropOldest Policy = "drop_oldest" // the oldest that wait are dropped, and counted
)

// UnmarshalText reads a policy's name.
func (p *Policy) UnmarshalText(text []byte) error {
	switch q := Policy(text); q {
	case Block, DeadLetter, DropOldest:
		*p = q
		return nil
	}
	return fmt.Errorf("on_full: it is %q; it can be block, dead_letter or drop_oldest", text)
}
