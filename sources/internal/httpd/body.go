package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// What decompressing takes beside the windows of zstd.
const (
	inflateBytes = 64 << 10
	zstdBytes    = 512 << 10
)

// maxWindow bounds the windows of zstd: decoders need not take larger ones (RFC 8878).
const maxWindow = 8 << 20

// openBody makes the request's Body: decompressed, and bounded before and after that.
func (r *Request) openBody(w http.ResponseWriter) error {
	c := &r.source.config
	encoding := strings.ToLower(strings.TrimSpace(r.HTTP.Header.Get("Content-Encoding")))
	if encoding == "snappy" && r.block { // the block that the body is anyway
		encoding = ""
	}
	limit := int64(c.MaxCompressed)
	if encoding == "" || encoding == "identity" {
		limit, encoding = int64(c.MaxBody), ""
	}
	if r.HTTP.ContentLength > limit {
		return tooLarge("the body is %d bytes long, and %d are taken", r.HTTP.ContentLength, limit)
	}
	var wire io.Reader = http.MaxBytesReader(w, r.HTTP.Body, limit)
	if r.digest != nil {
		wire = io.TeeReader(wire, r.digest)
	}
	if encoding == "" {
		r.Body = wire
		return nil
	}
	r.compressed = true
	plain, err := r.decompress(encoding, wire)
	if err != nil {
		return err
	}
	r.Body = &bounded{reader: plain, left: int64(c.MaxBody), limit: int64(c.MaxBody), encoding: encoding}
	return nil
}

// encodings are those that are taken, as a client is told.
const encodings = "gzip, zstd, deflate, snappy"

func (r *Request) decompress(encoding string, wire io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip", "x-gzip":
		if err := r.Batch.Reserve(inflateBytes); err != nil {
			return nil, err
		}
		return r.gunzip(wire)
	case "deflate":
		if err := r.Batch.Reserve(inflateBytes); err != nil {
			return nil, err
		}
		return r.inflate(wire)
	case "zstd":
		return r.unzstd(wire)
	case "snappy", "x-snappy-framed":
		return r.unsnappy(wire)
	}
	return nil, Unsupported("the content encoding %q is none of %s", encoding, encodings)
}

func (r *Request) gunzip(wire io.Reader) (io.Reader, error) {
	p := &r.source.readers.gzip
	z, _ := p.Get().(*gzip.Reader)
	var err error
	if z == nil {
		z, err = gzip.NewReader(wire)
	} else {
		err = z.Reset(wire)
	}
	if err != nil {
		return nil, damaged("gzip", err)
	}
	r.after(func() { p.Put(z) })
	return z, nil
}

// inflate reads what "deflate" says, which is zlib's format, and what some send instead, which is deflate alone.
func (r *Request) inflate(wire io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(wire, smallChunk)
	head, err := in.Peek(2)
	if err != nil {
		return nil, damaged("deflate", err)
	}
	if head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		z, err := zlib.NewReader(in)
		if err != nil {
			return nil, damaged("deflate", err)
		}
		return z, nil
	}
	return flate.NewReader(in), nil
}

// unzstd reads zstd with no larger a window than the first frame asks for, which is counted in the budget.
func (r *Request) unzstd(wire io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(wire, smallChunk)
	head, err := in.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, damaged("zstd", err)
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return nil, damaged("zstd", err)
	}
	asked, limit := h.WindowSize, uint64(maxWindow)
	if h.SingleSegment { // the window is all that the frame holds
		asked, limit = h.FrameContentSize, max(limit, uint64(r.source.config.MaxBody))
	}
	if asked > limit {
		return nil, tooLarge("zstd asks for a window of %d bytes, and %d are taken; compress at a level below 20 and without --long", asked, limit)
	}
	class := 10 // zstd's smallest window is of 2¹⁰ bytes
	for uint64(1)<<class < asked {
		class++
	}
	window := uint64(1) << class
	if err := r.Batch.Reserve(int(window) + zstdBytes); err != nil {
		return nil, err
	}
	p := &r.source.readers.zstd[class]
	z, _ := p.Get().(*zstd.Decoder)
	if z == nil {
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, damaged("zstd", err)
		}
	}
	if err := z.Reset(in); err != nil {
		return nil, damaged("zstd", err)
	}
	r.after(func() {
		if z.Reset(nil) == nil { // without its reader
			p.Put(z)
		}
	})
	return z, nil
}

// framed is how snappy's framing format begins.
var framed = []byte("\xff\x06\x00\x00sNaPpY")

// unsnappy reads snappy's framing format, or a block, which is what Vector sends.
func (r *Request) unsnappy(wire io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(wire, smallChunk)
	head, err := in.Peek(len(framed))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.Equal(head, framed) {
		if err := r.Batch.Reserve(3 * largeChunk); err != nil {
			return nil, err
		}
		return snappy.NewReader(in), nil
	}
	plain, err := r.unblock(in)
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(plain), nil
}

// Unblock reads the rest of the body, a block of snappy, and returns what it holds.
func (r *Request) Unblock() ([]byte, error) { return r.unblock(r.Body) }

func (r *Request) unblock(from io.Reader) ([]byte, error) {
	body := r.Body
	r.Body = from
	packed, err := r.Whole()
	r.Body = body
	if err != nil {
		return nil, err
	}
	n, err := snappy.DecodedLen(packed)
	if err != nil {
		return nil, damaged("snappy", err)
	}
	if n > int(r.source.config.MaxBody) {
		return nil, tooLarge("the body is %d bytes long once it is decompressed, and %d are taken", n, r.source.config.MaxBody)
	}
	if n/64 > len(packed)+64 { // a block holds no more than 64 bytes for 3, so the length is a lie: nothing is made ready for it
		return nil, damaged("snappy", snappy.ErrCorrupt)
	}
	room, err := r.Batch.chunk(n)
	if err != nil {
		return nil, err
	}
	plain, err := snappy.Decode(room, packed)
	if err != nil {
		return nil, damaged("snappy", err)
	}
	r.Batch.at = len(room)
	return plain, nil
}

func damaged(encoding string, err error) error {
	if known := refusal(err); known.why != dropEnded || known.Status != http.StatusBadRequest || errors.Is(err, io.ErrUnexpectedEOF) {
		return err // the body did not come, for a reason of its own
	}
	return Malformed("the body is no sound %s: %v", encoding, err)
}

// bounded bounds what a body holds once it is decompressed.
type bounded struct {
	reader      io.Reader
	left, limit int64
	encoding    string
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 { // whether there is more is asked with one byte
		var one [1]byte
		n, err := b.reader.Read(one[:])
		if n > 0 {
			return 0, tooLarge("the body is longer than %d bytes once it is decompressed", b.limit)
		}
		return 0, b.said(err)
	}
	n, err := b.reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, b.said(err)
}

func (b *bounded) said(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return tooLarge("zstd asks for a larger window than its first frame did")
	}
	return damaged(b.encoding, err)
}

// after has something done when the request was answered.
func (r *Request) after(do func()) { r.ends = append(r.ends, do) }

// drain makes sure that the body has been read to its end, so that a wrong
// length or a damaged end is found before anything is taken.
func (r *Request) drain() error {
	var one [1]byte
	for {
		n, err := r.Body.Read(one[:])
		switch {
		case n > 0:
			return Malformed("there is more behind the end of the body")
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("reading the end of the body: %w", err)
		}
	}
}
