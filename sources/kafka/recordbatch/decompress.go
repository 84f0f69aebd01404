package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a compression that Kafka knows.
type Codec int8

// The codecs.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// ErrTooLarge says that a batch is larger than the limit once decompressed.
var ErrTooLarge = errors.New("a record batch is too large once decompressed")

// Decompressor opens payloads. It keeps what its codecs need, so one goroutine
// uses it, for many batches. Close frees it.
type Decompressor struct {
	limit  int
	source bytes.Reader
	gzip   *gzip.Reader
	lz4    *lz4.Reader
	zstd   *zstd.Decoder
}

// NewDecompressor returns one that opens no batch beyond limit bytes.
func NewDecompressor(limit int) *Decompressor { return &Decompressor{limit: limit} }

// Decompress returns the decompressed payload, in the memory of buffer, whose
// content is lost, as far as its capacity reaches; without compression it is
// payload itself. A payload that cannot be read is ErrCorrupt, one beyond the
// limit ErrTooLarge; of either, little more than the limit is ever held (with
// zstd, than 16 MiB if the limit is less).
func (d *Decompressor) Decompress(buffer []byte, codec Codec, payload []byte) ([]byte, error) {
	out, err := payload, error(nil)
	switch codec {
	case None:
	case Gzip:
		out, err = d.openGzip(buffer[:0], payload)
	case Snappy:
		out, err = d.openSnappy(buffer[:0], payload)
	case LZ4:
		out, err = d.openLZ4(buffer[:0], payload)
	case Zstd:
		out, err = d.openZstd(buffer[:0], payload)
	default:
		return nil, corrupt("compression %d is unknown", codec)
	}
	switch {
	case errors.Is(err, ErrTooLarge) || err == nil && len(out) > d.limit:
		return nil, fmt.Errorf("%w: it is over %d bytes", ErrTooLarge, d.limit)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out, nil
}

// Close frees what the codecs hold.
func (d *Decompressor) Close() {
	if d.zstd != nil {
		d.zstd.Close()
		d.zstd = nil
	}
}

func (d *Decompressor) openGzip(dst, payload []byte) ([]byte, error) {
	d.source.Reset(payload)
	if d.gzip == nil {
		r, err := gzip.NewReader(&d.source)
		if err != nil {
			return dst, err
		}
		d.gzip = r
	} else if err := d.gzip.Reset(&d.source); err != nil {
		return dst, err
	}
	return d.readAll(dst, d.gzip)
}

func (d *Decompressor) openLZ4(dst, payload []byte) ([]byte, error) {
	d.source.Reset(payload)
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(&d.source)
		if err := d.lz4.Apply(lz4.ConcurrencyOption(1)); err != nil {
			return dst, err
		}
	} else {
		d.lz4.Reset(&d.source)
	}
	return d.readAll(dst, d.lz4)
}

// readAll reads to the end, or a byte beyond the limit.
func (d *Decompressor) readAll(dst []byte, r io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(len(dst), 4096))
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), d.limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > d.limit:
			return dst, ErrTooLarge
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

// zstdWindowBytes is the window that encoders commonly ask for, whatever they
// encode. The decoder takes the limit for one on the window too, which costs
// nothing here.
const zstdWindowBytes = 16 << 20

func (d *Decompressor) openZstd(dst, payload []byte) ([]byte, error) {
	if d.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(d.limit, zstdWindowBytes))))
		if err != nil {
			return dst, err
		}
		d.zstd = z
	}
	out, err := d.zstd.DecodeAll(payload, dst)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = ErrTooLarge
	}
	return out, err
}

// xerial is how snappy-java frames its blocks: this, a version, the lowest
// version that reads it, and then each block behind its length.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderBytes = 16

func (d *Decompressor) openSnappy(dst, payload []byte) ([]byte, error) {
	if !bytes.HasPrefix(payload, xerial) {
		return d.appendBlock(dst, payload, d.limit)
	}
	if len(payload) < xerialHeaderBytes {
		return dst, io.ErrUnexpectedEOF
	}
	for payload = payload[xerialHeaderBytes:]; len(payload) > 0; {
		if len(payload) < 4 {
			return dst, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(payload)
		payload = payload[4:]
		if uint64(n) > uint64(len(payload)) {
			return dst, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = d.appendBlock(dst, payload[:n], d.limit-len(dst)); err != nil {
			return dst, err
		}
		payload = payload[n:]
	}
	return dst, nil
}

// maxSnappyRatio is above what the format can reach, since a copy of 64 bytes
// takes at least two: a larger claim is a lie, and no memory is given for it.
const maxSnappyRatio = 64

func (d *Decompressor) appendBlock(dst, block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	switch {
	case err != nil:
		return dst, err
	case n > len(block)*maxSnappyRatio:
		return dst, snappy.ErrCorrupt
	case n > limit:
		return dst, ErrTooLarge
	}
	if cap(dst)-len(dst) < n {
		dst = slices.Grow(dst, max(n, len(dst)))
	}
	out, err := snappy.Decode(dst[len(dst):len(dst)+n], block)
	if err != nil {
		return dst, err
	}
	return dst[:len(dst)+len(out)], nil
}
