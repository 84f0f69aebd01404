package objects

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"sluice/pipeline/component"
)

// limits bound what an object may unpack to.
type limits struct {
	bytes int64 // at most so much text
	ratio int64 // at most so many times what was read, once there is much of it
}

// ratioFrom is how much text there must be before its ratio is looked at: a
// small object that packs well does no harm.
const ratioFrom = 8 << 20

// zstdMemory bounds what one zstd frame may ask for: a window of 8 MiB is what
// the format's own tools stay below unless they are told otherwise.
const zstdMemory = 32 << 20

// unpacked is an object's text.
type unpacked struct {
	source  io.Reader // packed bytes are read from it
	text    io.Reader
	limits  limits
	in, out int64
	close   func()
}

// unpack tells gzip and zstd by an object's first bytes; all else is plain.
// What comes packed twice is unpacked once. Errors are those of r, or a *flaw.
func unpack(r io.Reader, l limits) (*unpacked, error) {
	u := &unpacked{source: r, limits: l, close: func() {}}
	in := bufio.NewReaderSize(packedReader{u}, 32<<10)
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, packed("gzip", err)
		}
		u.text, u.close = z, func() { _ = z.Close() } // it closes nothing but itself
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemory), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, packed("zstd", err)
		}
		u.text, u.close = z, z.Close
	default:
		u.text = in
	}
	return u, nil
}

// packed says whose fault it is that something cannot be unpacked: the download knows its own.
func packed(kind string, err error) error {
	var f *flaw
	if errors.As(err, &f) {
		return f
	}
	return &flaw{reason: reasonPacked, err: fmt.Errorf("%s: %w", kind, err)}
}

// packedReader counts what is read of the packed bytes.
type packedReader struct{ u *unpacked }

func (p packedReader) Read(b []byte) (int, error) {
	n, err := p.u.source.Read(b)
	p.u.in += int64(n)
	return n, err
}

// Read implements io.Reader. The error is a *flaw where more comes out than is allowed.
func (u *unpacked) Read(b []byte) (int, error) {
	if u.out >= u.limits.bytes {
		b = b[:min(1, len(b))] // is there more?
	} else if left := u.limits.bytes - u.out; int64(len(b)) > left {
		b = b[:left]
	}
	n, err := u.text.Read(b)
	u.out += int64(n)
	switch {
	case u.out > u.limits.bytes:
		return 0, tooMuch(fmt.Sprintf("it holds more than max_object_bytes (%v)", component.Bytes(u.limits.bytes)))
	case u.out > ratioFrom && u.out/max(1, u.in) > u.limits.ratio:
		return 0, tooMuch(fmt.Sprintf("it unpacks to more than max_ratio (%d) times its size", u.limits.ratio))
	}
	return n, err
}

func tooMuch(why string) *flaw {
	return &flaw{reason: reasonTooMuch, err: errors.New(why), final: true}
}
