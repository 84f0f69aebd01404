package decode

import (
	"bytes"
	"unicode/utf8"
	"unsafe"
)

// cutLine splits at the first line end, which belongs to neither part. One CR
// before it is dropped (FIDELITY 33).
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return trimCR(b), nil
	}
	return trimCR(b[:i]), b[i+1:]
}

// trimEnd drops one line end.
func trimEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	return trimCR(b)
}

func trimCR(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\r' {
		return b[:n-1]
	}
	return b
}

// cutAt shortens b to at most n bytes without splitting a character.
func cutAt(b []byte, n int) []byte {
	for i := range min(n, utf8.UTFMax) {
		if utf8.RuneStart(b[n-i]) {
			return b[:n-i]
		}
	}
	return b[:n]
}

// arena holds the texts that had to be unescaped, until the next batch.
type arena struct{ block []byte }

// arenaKeep is the size up to which an arena keeps its block for the next batch.
const arenaKeep = 4 << 20

func (a *arena) reset() {
	if cap(a.block) > arenaKeep {
		a.block = nil
	}
	a.block = a.block[:0]
}

// room returns an empty slice of the arena with space for n bytes. What is
// appended to it becomes the arena's by keep.
func (a *arena) room(n int) []byte {
	if cap(a.block)-len(a.block) < n {
		// Texts handed out alias the old block: leave it to them.
		a.block = make([]byte, 0, max(n, min(2*cap(a.block), arenaKeep), 16<<10))
	}
	start := len(a.block)
	return a.block[start : start : start+n]
}

func (a *arena) keep(b []byte) { a.block = a.block[:len(a.block)+len(b)] }

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
