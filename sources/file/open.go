package file

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// stdin is the path that means standard input.
const stdin = "-"

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// zstdWindow bounds the memory that a zstd file can ask for.
const zstdWindow = 128 << 20

// input is a file as it reads uncompressed.
type input struct {
	io.Reader
	compressed bool
	close      []func()
}

// Close frees the input.
func (in *input) Close() {
	for i := len(in.close) - 1; i >= 0; i-- {
		in.close[i]()
	}
}

// uncompress looks at the first bytes of r and reads it uncompressed.
func uncompress(r io.Reader) (*input, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	// A short or failing input shows itself again at the first Read.
	magic, _ := buffered.Peek(len(zstdMagic))
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("not readable as gzip: %w", err)
		}
		return &input{Reader: z, compressed: true}, nil
	case bytes.HasPrefix(magic, zstdMagic):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, fmt.Errorf("not readable as zstd: %w", err)
		}
		return &input{Reader: z, compressed: true, close: []func(){z.Close}}, nil
	}
	return &input{Reader: buffered}, nil
}

// isCompressed tells whether a file begins like a compressed one.
func isCompressed(f *os.File) bool {
	var magic [4]byte
	n, _ := f.ReadAt(magic[:], 0)
	return bytes.HasPrefix(magic[:n], gzipMagic) || bytes.Equal(magic[:n], zstdMagic)
}

// interruptible reads r in a goroutine of its own, so that a read that never
// returns, as one of a terminal, does not hold up the end. Once ctx is done the
// goroutine ends with the read that it is in.
type interruptible struct {
	ctx    context.Context
	chunks chan chunk
	back   chan []byte
	rest   chunk
}

type chunk struct {
	data []byte
	buf  []byte
	err  error
}

func newInterruptible(ctx context.Context, r io.Reader) *interruptible {
	in := &interruptible{ctx: ctx, chunks: make(chan chunk), back: make(chan []byte, 2)}
	in.back <- make([]byte, 64<<10)
	in.back <- make([]byte, 64<<10)
	go func() {
		defer close(in.chunks)
		for {
			select {
			case <-ctx.Done():
				return
			case buf := <-in.back:
				n, err := r.Read(buf)
				select {
				case <-ctx.Done():
					return
				case in.chunks <- chunk{buf[:n], buf, err}:
				}
				if err != nil {
					return
				}
			}
		}
	}()
	return in
}

// Read implements io.Reader; its error is ctx's once that is done.
func (in *interruptible) Read(p []byte) (int, error) {
	for len(in.rest.data) == 0 {
		if in.rest.err != nil {
			return 0, in.rest.err
		}
		if in.rest.buf != nil {
			in.back <- in.rest.buf
			in.rest = chunk{}
		}
		select {
		case <-in.ctx.Done():
			return 0, in.ctx.Err()
		case c, ok := <-in.chunks:
			if !ok {
				return 0, in.ctx.Err()
			}
			in.rest = c
		}
	}
	n := copy(p, in.rest.data)
	in.rest.data = in.rest.data[n:]
	return n, nil
}
