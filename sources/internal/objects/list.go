package objects

import (
	"container/heap"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

const (
	pageKeys      = 1000   // S3 lists no more at once
	listedAhead   = 50_000 // keys that are listed and not yet in the manifest, of all prefixes together, at about most
	manifestBatch = 500    // references that are written into the manifest at once
	listParallel  = 8      // first pages that are asked for at once
)

// The manifest's marks: where the listing of a prefix goes on, and when the
// first listing began.
const (
	markPrefix = "after:"
	markFirst  = "first listing"
)

// lister finds objects by listing a bucket, in passes. A pass lists every
// prefix from its marker to its end, and takes the objects of all prefixes in
// the order of their times, those of one prefix in the order of their keys.
//
// The marker is the greatest listed key whose object is older than lookback:
// what came later is listed again by the next pass, for the sake of those with
// smaller keys that come late; the manifest knows those that it has.
type lister struct {
	s       *Source
	api     storeAPI
	bucket  string
	since   time.Time // objects that were changed last before are not read
	horizon time.Time // of the pass under way: objects older than this are behind the lookback

	prefixes []string
	looked   time.Time // when prefixes were looked for
}

// find implements finder.
func (l *lister) find(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	for {
		if now := l.s.clock.Now(); l.looked.IsZero() || now.Sub(l.looked) >= l.s.config.PrefixInterval {
			if err := l.look(ctx); err != nil {
				return err
			}
			l.looked = now
		}
		if err := l.pass(ctx); err != nil {
			return err
		}
		select {
		case <-l.s.clock.After(l.s.config.PollInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begin finds out from which time on objects are read.
func (l *lister) begin(ctx context.Context) error {
	first, err := time.Parse(time.RFC3339, l.s.manifest.mark(markFirst))
	if err != nil {
		first = l.s.clock.Now().UTC().Truncate(time.Second)
		if _, err := l.s.manifest.add(ctx, nil, map[string]string{markFirst: first.Format(time.RFC3339)}); err != nil {
			return err
		}
	}
	l.since, err = l.s.config.start(first)
	return err
}

// look finds the prefixes that the configured ones stand for.
func (l *lister) look(ctx context.Context) error {
	var all []string
	for _, p := range l.s.format.Prefixes {
		found, err := l.expand(ctx, p)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == 0 {
		l.s.log.Warn("no prefix of the bucket matches yet; it is looked for again", "bucket", l.bucket, "prefixes", l.s.format.Prefixes)
	}
	if added := len(all) - len(l.prefixes); added != 0 && len(l.prefixes) > 0 {
		l.s.log.Info("the prefixes of the bucket have changed", "bucket", l.bucket, "prefixes", len(all))
	}
	l.prefixes = all
	return nil
}

// expand returns the prefixes that a pattern matches, level by level.
func (l *lister) expand(ctx context.Context, pattern string) ([]string, error) {
	levels := strings.SplitAfter(pattern, "/")
	found := []string{""}
	for i, level := range levels {
		name := strings.TrimSuffix(level, "/")
		if !isPattern(name) {
			for j := range found {
				found[j] += level
			}
			continue
		}
		next := make([][]string, len(found))
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(listParallel)
		for j, parent := range found {
			all.Go(func() (err error) {
				next[j], err = l.children(ctx, parent, name)
				return err
			})
		}
		if err := all.Wait(); err != nil {
			return nil, err
		}
		found = slices.Concat(next...)
		if len(found) == 0 || i == len(levels)-1 {
			break
		}
	}
	return found, nil
}

// children returns the prefixes one level below a parent whose names match.
func (l *lister) children(ctx context.Context, parent, pattern string) (out []string, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &l.bucket, Prefix: &parent, Delimiter: aws.String("/")}
	for {
		var page *s3.ListObjectsV2Output
		if err := l.list(ctx, in, &page); err != nil {
			return nil, err
		}
		for _, p := range page.CommonPrefixes {
			name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), parent), "/")
			if ok, err := path.Match(pattern, name); err == nil && ok {
				out = append(out, aws.ToString(p.Prefix))
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return out, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// list asks for a page until it comes.
func (l *lister) list(ctx context.Context, in *s3.ListObjectsV2Input, page **s3.ListObjectsV2Output) error {
	what := "listing " + aws.ToString(in.Prefix)
	return l.s.again(ctx, what, func() (err error) {
		if *page, err = l.api.ListObjectsV2(ctx, in); err != nil {
			return fmt.Errorf("listing s3://%s/%s: %w", l.bucket, aws.ToString(in.Prefix), err)
		}
		return nil
	})
}

// cursor is the listing of one prefix within a pass.
type cursor struct {
	prefix string
	size   int32 // of a page
	page   []Ref // page[at:] is to come
	at     int
	last   string // the greatest key that was listed
	ended  bool
	marker string // up to which nothing is listed again
	window int    // objects behind the marker
	order  int64  // of page[at]
}

// pass lists all prefixes once.
func (l *lister) pass(ctx context.Context) error {
	l.horizon = l.s.clock.Now().Add(-l.s.config.Lookback)
	cursors, err := l.cursors(ctx)
	if err != nil {
		return err
	}
	h := cursorHeap(cursors)
	heap.Init(&h)
	var refs []Ref
	marks := make(map[string]string)
	limit := max(1, l.s.config.RememberObjects/2/max(1, len(l.prefixes)))
	for len(h) > 0 {
		c := h[0]
		r := c.page[c.at]
		skip := l.skip(&r)
		if skip == "" {
			refs = append(refs, r)
		}
		if l.passed(c, &r, limit) {
			marks[markPrefix+c.prefix] = c.marker
			if skip != "" && skip != notWanted { // within the lookback it would be counted in every pass
				l.s.drop(skip)
			}
		}
		c.at++
		if err := l.fill(ctx, c); err != nil {
			return err
		}
		if c.at < len(c.page) {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
		if len(refs) >= manifestBatch {
			if err := l.keep(ctx, refs, marks); err != nil {
				return err
			}
			refs = refs[:0]
			clear(marks)
		}
	}
	return l.keep(ctx, refs, marks)
}

// keep writes what was found into the manifest, once there is room.
func (l *lister) keep(ctx context.Context, refs []Ref, marks map[string]string) error {
	if len(refs) == 0 && len(marks) == 0 {
		return ctx.Err()
	}
	if err := l.s.manifest.room(ctx); err != nil {
		return err
	}
	_, err := l.s.manifest.add(ctx, refs, marks)
	return err
}

// passed moves the marker over an object that is older than the lookback, and
// says so. Where too many are younger than could be remembered it moves too.
func (l *lister) passed(c *cursor, r *Ref, limit int) bool {
	if r.ModifiedTime().Before(l.horizon) {
		c.marker, c.window = r.Key, 0
		return true
	}
	if c.window++; c.window <= limit {
		return false
	}
	if c.window == limit+1 {
		l.s.gaps.Add(1)
		l.s.log.Warn("more objects have come within lookback than can be remembered: those that come late may be missed; "+
			"set remember_objects higher or lookback lower", "prefix", c.prefix, "objects", c.window)
	}
	c.marker = r.Key
	return true
}

// notWanted is for what is not there to be read: empty, or older than the start.
const notWanted = "not wanted"

// skip tells why an object is not to be read; "" when it is.
func (l *lister) skip(r *Ref) string {
	if r.Size == 0 || r.ModifiedTime().Before(l.since) {
		return notWanted
	}
	return l.s.treat(r.Key).Skip
}

// cursors begins the pass: the first page of every prefix.
func (l *lister) cursors(ctx context.Context) ([]*cursor, error) {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(listParallel)
	out := make([]*cursor, len(l.prefixes))
	size := min(pageKeys, max(20, listedAhead/max(1, len(l.prefixes))))
	for i, p := range l.prefixes {
		c := &cursor{prefix: p, size: int32(size), marker: l.s.manifest.mark(markPrefix + p)}
		if c.last = c.marker; c.last == "" && l.s.format.After != nil && !l.since.IsZero() {
			c.last = l.s.format.After(p, l.since)
		}
		out[i] = c
		all.Go(func() error { return l.fill(ctx, c) })
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(c *cursor) bool { return c.at == len(c.page) }), nil
}

// fill gets the next page when the one before is used up.
func (l *lister) fill(ctx context.Context, c *cursor) error {
	for c.at == len(c.page) && !c.ended {
		in := &s3.ListObjectsV2Input{Bucket: &l.bucket, Prefix: &c.prefix, MaxKeys: &c.size}
		if c.last != "" {
			in.StartAfter = &c.last
		}
		var page *s3.ListObjectsV2Output
		if err := l.list(ctx, in, &page); err != nil {
			return err
		}
		c.page, c.at = c.page[:0], 0
		for i := range page.Contents {
			o := &page.Contents[i]
			c.last = aws.ToString(o.Key)
			c.page = append(c.page, Ref{
				Bucket: l.bucket, Key: c.last, ETag: strings.Trim(aws.ToString(o.ETag), `"`),
				Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified).UnixMilli(),
			})
		}
		c.ended = !aws.ToBool(page.IsTruncated)
	}
	if c.at < len(c.page) {
		c.order = l.s.format.order(&c.page[c.at])
	}
	return nil
}

// cursorHeap has the prefix on top whose next object is the oldest.
type cursorHeap []*cursor

func (h cursorHeap) Len() int { return len(h) }
func (h cursorHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.order != b.order {
		return a.order < b.order
	}
	return a.page[a.at].Key < b.page[b.at].Key
}
func (h cursorHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)   { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
