package decisions

// change is an entry of the log. The slot of a removal is kept as long as its
// entry is; that of an addition may be gone and used again, which its id tells.
type change struct {
	ref ref
	why Why
}

const chunkChanges = 8192

// changeLog holds changes, the oldest first, in chunks: it grows without being
// copied, and gives back what is forgotten.
type changeLog struct {
	chunks  []*[chunkChanges]change
	outside outside[[chunkChanges]change]
	skip    int // entries of the first chunk that are forgotten
	len     int
}

// at returns the ith of the changes, from 0. It is no pointer: what that points
// to would be gone once the entry is forgotten.
func (l *changeLog) at(i int) change {
	i += l.skip
	return l.chunks[i/chunkChanges][i%chunkChanges]
}

func (l *changeLog) set(i int, c change) {
	i += l.skip
	l.chunks[i/chunkChanges][i%chunkChanges] = c
}

func (l *changeLog) add(c change) {
	l.extend(1)
	l.set(l.len-1, c)
}

// extend adds n entries that say nothing.
func (l *changeLog) extend(n int) {
	l.len += n
	for len(l.chunks)*chunkChanges < l.skip+l.len {
		l.chunks = append(l.chunks, l.outside.get())
	}
}

// forget drops the first n changes.
func (l *changeLog) forget(n int) {
	l.skip, l.len = l.skip+n, l.len-n
	for ; l.skip >= chunkChanges; l.skip -= chunkChanges {
		gone := l.chunks[0]
		l.chunks[0] = nil // a pointer to what is given back must stay nowhere
		l.chunks = l.chunks[1:]
		l.outside.put(gone)
	}
}
