package httpd

import "io"

// feed reads a body into the batch's memory, so that what is cut out of it is
// never copied but where it lies across two chunks.
type feed struct {
	r *Request
	// buf is the chunk that is being read into. What lies between start and
	// end was read and not cut out yet.
	buf        []byte
	start, end int
	ended      bool // the body has
}

// rest is what was read and not cut out yet.
func (f *feed) rest() []byte { return f.buf[f.start:f.end] }

// more reads more behind the rest, or finds out that the body has ended. The rest may lie elsewhere then.
func (f *feed) more() error {
	if f.end == len(f.buf) {
		if err := f.turn(); err != nil {
			return err
		}
	}
	n, err := f.r.Body.Read(f.buf[f.end:])
	f.end += n
	f.r.Batch.at = f.end
	if err == io.EOF {
		f.ended = true
		return nil
	}
	return err
}

// turn begins a chunk with the rest, which the one before has no room for.
func (f *feed) turn() error {
	b, rest := f.r.Batch, f.rest()
	size := f.r.firstChunk()
	switch {
	case len(f.buf) == 0:
	case len(rest) > largeChunk/2: // up to what a body may hold, and a byte to find out that there is more
		size = max(len(rest)+1, min(2*len(rest), int(f.r.source.config.MaxBody)+1))
	default:
		size = largeChunk
	}
	alone := len(f.buf) > 0 && f.start == 0
	buf, err := b.chunk(size)
	if err != nil {
		return err
	}
	f.start, f.end = 0, copy(buf, rest)
	f.buf = buf
	if alone { // nothing else lies in the one before
		last := len(b.chunks) - 1
		b.chunks[last-1], b.chunks[last] = b.chunks[last], b.chunks[last-1]
		b.drop()
	}
	return nil
}

// firstChunk is how much is read at first: little of a body that says that it is small.
func (r *Request) firstChunk() int {
	if n := r.HTTP.ContentLength; n >= 0 && n < smallChunk && !r.compressed {
		return smallChunk
	}
	return largeChunk
}

// Whole reads the rest of the body into one piece of the batch's memory.
func (r *Request) Whole() ([]byte, error) {
	f := feed{r: r}
	for !f.ended {
		if err := f.more(); err != nil {
			return nil, err
		}
	}
	return f.buf[:f.end:f.end], nil
}
