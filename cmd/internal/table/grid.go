package table

import (
	"bufio"
	"bytes"
	"unicode/utf8"
)

// grid is a table of which nothing is held but its text: a million rows are
// some tens of megabytes. All rows have as many cells as the first.
type grid struct {
	widths []int    // of the columns, in letters
	chunks [][]byte // whole rows: a tab between two cells and a newline behind the last; what is printable holds neither
}

// A chunk has twice the length of the one before, up to maxChunk: a short table is small, and a long one is never copied.
const minChunk, maxChunk = 4 << 10, 1 << 20

// gap is what lies between two columns.
const gap = 2

// add adds a row.
func (g *grid) add(cells []string) {
	if g.widths == nil {
		g.widths = make([]int, len(cells))
	}
	last := len(g.chunks) - 1
	if last < 0 || cap(g.chunks[last])-len(g.chunks[last]) < maxLen(cells) {
		size := minChunk
		if last >= 0 {
			size = min(2*cap(g.chunks[last]), maxChunk)
		}
		g.chunks = append(g.chunks, make([]byte, 0, max(size, maxLen(cells))))
		last++
	}
	chunk := g.chunks[last]
	for i, cell := range cells {
		if i > 0 {
			chunk = append(chunk, '\t')
		}
		cell = printable(cell)
		chunk = append(chunk, cell...)
		g.widths[i] = max(g.widths[i], utf8.RuneCountInString(cell))
	}
	g.chunks[last] = append(chunk, '\n')
}

// maxLen is the most that a row takes: a byte that is no letter becomes one of three.
func maxLen(cells []string) int {
	n := len(cells)
	for _, cell := range cells {
		n += len(cell) * len(string(utf8.RuneError))
	}
	return n
}

// write writes the rows, each cell but the last of a row as wide as its column.
// An error of the writer's stays there.
func (g *grid) write(w *bufio.Writer) {
	for _, chunk := range g.chunks {
		for line := range bytes.Lines(chunk) {
			for i := 0; ; i++ {
				cell, rest, more := bytes.Cut(line, []byte{'\t'})
				_, _ = w.Write(cell)
				if !more {
					break // with its newline
				}
				for range g.widths[i] - utf8.RuneCount(cell) + gap {
					_ = w.WriteByte(' ')
				}
				line = rest
			}
		}
	}
}
