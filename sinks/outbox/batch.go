package outbox

// batch is a run of entries: those for the place, and where the next begins.
type batch struct {
	items []Item
	seqs  []uint64 // of items
	sizes []int64  // of their entries, in bytes
	next  uint64
	bytes int64
}

// cut leaves the first n items.
func (b *batch) cut(n int) {
	if n >= len(b.items) {
		return
	}
	b.next, b.items = b.seqs[n], b.items[:n]
	b.bytes = 0
	for _, size := range b.sizes[:n] {
		b.bytes += size
	}
}

// cutTo leaves the oldest items: as few as hold so many bytes.
func (b *batch) cutTo(bytes int64) {
	var sum int64
	for i, size := range b.sizes {
		if sum >= bytes {
			b.cut(i)
			return
		}
		sum += size
	}
}
