package store

import (
	"encoding/binary"
	"errors"
	"time"

	"sluice/pipeline/decisions"
)

// errTorn says that a value is not what the store writes.
var errTorn = errors.New("a record is damaged, or of a newer version; restore the folder from a backup, or remove it to begin without decisions")

const codeVersion = 1

// appendDecision writes a decision without its id, which is its key.
func appendDecision(b []byte, d *decisions.Decision) []byte {
	b = append(b, codeVersion)
	b = append(b, d.UUID[:]...)
	b = binary.AppendVarint(b, d.Alert)
	b = binary.AppendVarint(b, d.Until.Unix())
	simulated := byte(0)
	if d.Simulated {
		simulated = 1
	}
	b = append(b, simulated)
	for _, s := range []string{d.Origin, d.Type, d.Scope, d.Value, d.Scenario} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func decodeDecision(b []byte) (d decisions.Decision, err error) {
	d, rest, err := readDecision(b)
	if err == nil && len(rest) > 0 {
		err = errTorn
	}
	return d, err
}

func readDecision(b []byte) (d decisions.Decision, rest []byte, err error) {
	if len(b) < 17 || b[0] != codeVersion {
		return d, nil, errTorn
	}
	copy(d.UUID[:], b[1:])
	b = b[17:]
	for _, to := range []func(int64){func(n int64) { d.Alert = n }, func(n int64) { d.Until = time.Unix(n, 0).UTC() }} {
		n, size := binary.Varint(b)
		if size <= 0 {
			return d, nil, errTorn
		}
		to(n)
		b = b[size:]
	}
	if len(b) == 0 || b[0] > 1 {
		return d, nil, errTorn
	}
	d.Simulated, b = b[0] == 1, b[1:]
	for _, to := range []*string{&d.Origin, &d.Type, &d.Scope, &d.Value, &d.Scenario} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return d, nil, errTorn
		}
		*to = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	return d, b, nil
}

// appendRemoval writes a removal without its number, which is its key.
func appendRemoval(b []byte, c *decisions.Change) []byte {
	b = binary.AppendVarint(append(b, byte(c.Why)), c.ID)
	return appendDecision(b, &c.Decision)
}

func decodeRemoval(b []byte) (c decisions.Change, err error) {
	if len(b) == 0 || decisions.Why(b[0]) == decisions.Added || decisions.Why(b[0]) > decisions.Allowed {
		return c, errTorn
	}
	c.Why = decisions.Why(b[0])
	id, size := binary.Varint(b[1:])
	if size <= 0 {
		return c, errTorn
	}
	c.Decision, err = decodeDecision(b[1+size:])
	c.ID = id
	return c, err
}
