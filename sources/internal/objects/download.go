package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sluice/sources"
)

// chunkSize is in what portions objects are fetched.
const chunkSize = 64 << 10

// storeAPI is what is asked of S3.
type storeAPI interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// download is an object on its way: a goroutine fetches it, up to what its
// channel holds, and whoever reads it is never told of trouble that may pass.
type download struct {
	s      *Source
	ref    Ref
	key    []byte // ref.Key
	cancel context.CancelFunc
	chunks chan *[]byte // closed behind the last, or behind a fault

	// These are set before the first chunk, or before the channel is closed.
	modified time.Time
	etag     string
	flaw     *flaw // why no more comes

	chunk *[]byte // under way, of whoever reads
	used  int
}

// download begins to fetch an object. Whoever called must call end.
func (s *Source) download(ctx context.Context, run func(func() error), ref Ref) *download {
	ctx, cancel := context.WithCancel(ctx)
	per := max(2, int(s.config.DownloadBytes)/s.config.Downloads/chunkSize)
	d := &download{s: s, ref: ref, key: []byte(ref.Key), cancel: cancel, chunks: make(chan *[]byte, per-1), etag: ref.ETag, modified: ref.ModifiedTime()}
	run(func() error {
		defer cancel()
		defer close(d.chunks)
		d.fetch(ctx)
		return nil
	})
	return d
}

// end lets go of the download, whether it is read or not.
func (d *download) end() {
	d.cancel()
	for c := range d.chunks {
		d.s.chunks.Put(c)
	}
	if d.chunk != nil {
		d.s.chunks.Put(d.chunk)
		d.chunk = nil
	}
}

// Read implements io.Reader. At a fault it returns the *flaw, and when the
// download was ended a context's error.
func (d *download) Read(b []byte) (int, error) {
	for d.chunk == nil || d.used == len(*d.chunk) {
		if d.chunk != nil {
			d.s.chunks.Put(d.chunk)
			d.chunk = nil
		}
		c, ok := <-d.chunks
		if !ok {
			if d.flaw != nil {
				return 0, d.flaw
			}
			return 0, io.EOF
		}
		d.chunk, d.used = c, 0
	}
	n := copy(b, (*d.chunk)[d.used:])
	d.used += n
	return n, nil
}

// fetch fetches the object, and goes on where it was interrupted until it has
// it whole, the object is at fault, or ctx is done.
func (d *download) fetch(ctx context.Context) {
	backoff := sources.Backoff{Clock: d.s.clock, Min: backoffMin, Max: backoffMax}
	var at int64
	for fails := 1; ; fails++ {
		n, err := d.fetchFrom(ctx, at)
		at += n
		if err == nil {
			d.s.health.Well(d.ref.String())
			return
		}
		if ctx.Err() != nil {
			d.stopped(ctx)
			return
		}
		if f := flawOf(err); f != nil {
			d.flaw = f
			d.s.health.Forget(d.ref.String())
			return
		}
		if n > 0 {
			backoff.Reset()
			fails = 1
		}
		if fails >= patience {
			d.s.health.Failed(d.ref.String(), err)
		}
		if backoff.Wait(ctx) != nil {
			d.stopped(ctx)
			return
		}
	}
}

// stopped says that the download was ended: nobody counts that as a flaw.
func (d *download) stopped(ctx context.Context) {
	d.flaw = &flaw{reason: reasonRefused, err: ctx.Err(), final: true}
	d.s.health.Forget(d.ref.String())
}

// fetchFrom fetches the object from a byte on, and returns how much of it came.
func (d *download) fetchFrom(ctx context.Context, at int64) (n int64, err error) {
	in := &s3.GetObjectInput{Bucket: &d.ref.Bucket, Key: &d.ref.Key}
	if d.ref.Version != "" {
		in.VersionId = &d.ref.Version
	}
	if d.etag != "" { // what is read must be one object, though it be fetched in parts
		in.IfMatch = aws.String(`"` + d.etag + `"`)
	}
	if at > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", at))
	}
	out, err := d.s.store.GetObject(ctx, in)
	if err != nil {
		return 0, err
	}
	defer out.Body.Close()
	if at > 0 && !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", at)) {
		return 0, fmt.Errorf("the object was asked for from byte %d on, and the answer is of %q", at, aws.ToString(out.ContentRange))
	}
	if at == 0 {
		if out.LastModified != nil {
			d.modified = out.LastModified.UTC()
		}
		d.etag = strings.Trim(aws.ToString(out.ETag), `"`)
	}
	for {
		c := d.s.chunks.Get().(*[]byte)
		*c = (*c)[:chunkSize]
		m, err := io.ReadFull(out.Body, *c)
		*c = (*c)[:m]
		n += int64(m)
		if m == 0 {
			d.s.chunks.Put(c)
		} else {
			select {
			case d.chunks <- c:
			case <-ctx.Done():
				d.s.chunks.Put(c)
				return n, ctx.Err()
			}
		}
		if out.ContentLength != nil && n >= *out.ContentLength {
			return n, nil
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			if out.ContentLength == nil {
				return n, nil
			}
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, err
		}
	}
}
