package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/awsconn"
	"sluice/sources"
)

// How long is waited after something failed, at first and at most.
const (
	backoffMin = 200 * time.Millisecond
	backoffMax = 10 * time.Second
)

// reasonExcluded is the reason of keys that include and exclude leave out.
const reasonExcluded = "the key is excluded"

// Source reads the objects of a bucket. See the package's comment.
type Source struct {
	name      string
	config    Config
	format    Format
	log       *slog.Logger
	clock     sources.Clock
	health    *sources.Health
	partition pipeline.Partition
	dir       string
	segment   int64 // the size of the manifest's files
	filter    keyFilter
	fromKey   *regexp.Regexp
	chunks    sync.Pool // *[]byte of chunkSize
	blocks    sync.Pool // *block
	announce  func(...pipeline.Partition)

	// connect makes the clients; tests have their own.
	connect func(context.Context) (clients, error)
	openLog func(dir string) (refLog, error)
	store   storeAPI // set by Run
	// manifest is set by Run; queue too, where there is one. Commit waits for neither.
	manifest *manifest
	opened   atomic.Pointer[open]

	// committed is the offset up to which a checkpoint holds everything, and
	// next how far everything was emitted.
	committed, next atomic.Int64

	records, bytes, skipped, cut, gaps atomic.Uint64
	mu                                 sync.Mutex
	drops                              map[string]uint64
}

// open is what Commit and Close need of a run.
type open struct {
	manifest *manifest
	queue    *queue // nil where a bucket is listed
	clients  clients
}

// clients are how AWS is asked.
type clients struct {
	store storeAPI
	queue queueAPI
	close func()
}

// finder finds objects and puts them into the manifest, until ctx is done or
// the manifest cannot be written.
type finder interface {
	find(ctx context.Context) error
}

// New makes the source. It connects to nothing and opens nothing.
func New(name string, c Config, f Format, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	log := env.Log.With("source", name)
	topic := f.Topic
	if c.Queue != "" {
		topic = c.queueName()
	}
	s := &Source{
		name: name, config: c, format: f, log: log, clock: env.Clock, health: sources.NewHealth(log), dir: c.Dir, segment: manifestSegment,
		partition: pipeline.Partition{Source: name, Topic: topic}, filter: newKeyFilter(&c), drops: make(map[string]uint64),
	}
	if c.LabelsFromKey != "" {
		s.fromKey = regexp.MustCompile(c.LabelsFromKey) // Validate has compiled it
	}
	if s.dir == "" && env.Dir != "" {
		s.dir = filepath.Join(env.Dir, url.PathEscape(name))
	}
	s.connect, s.openLog = s.connectAWS, s.openJournal
	s.chunks.New = func() any { c := make([]byte, chunkSize); return &c }
	s.blocks.New = func() any { return s.newBlock() }
	return s, nil
}

// newBlock makes a batch that goes back to its pool when it is released.
func (s *Source) newBlock() *block {
	b := &block{bytes: make([]byte, 0, blockBytes)}
	b.batch.Release = func() {
		clear(b.batch.Records)
		b.batch.Records, b.batch.Dead, b.batch.Labels = b.batch.Records[:0], nil, nil
		s.blocks.Put(b)
	}
	return b
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(...pipeline.Partition)) { s.announce = tell }

// connectAWS makes the clients that the configuration describes.
func (s *Source) connectAWS(ctx context.Context) (clients, error) {
	c, err := s.config.Load(ctx)
	if err != nil {
		return clients{}, err
	}
	store := s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = s.config.PathStyle
		if s.config.BucketRegion != "" {
			o.Region = s.config.BucketRegion
		}
		// TLS and the packing's own sums guard what is read; S3's sums are of whole
		// objects and would fail one that is fetched in parts.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return clients{store: store, queue: sqs.NewFromConfig(c), close: func() { awsconn.CloseIdle(c) }}, nil
}

// Run implements sources.Source.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	if s.dir == "" {
		return errors.New("the manifest of objects needs a folder, so that none is read twice; set state.dir, or dir: in the source")
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	start := from[s.partition]
	log, err := s.openLog(s.dir)
	if err != nil {
		c.close()
		return folderError(s.dir, err)
	}
	m, err := openManifest(s, log, start)
	if err != nil {
		c.close()
		return errors.Join(err, log.close())
	}
	s.store, s.manifest = c.store, m
	o := &open{manifest: m, clients: c}
	s.committed.Store(start)
	var find finder = &lister{s: s, api: c.store, bucket: s.config.Bucket}
	if s.config.Queue != "" {
		o.queue = newQueue(s, c.queue)
		find = o.queue
	}
	s.opened.Store(o)
	start = max(start, offsetOf(m.start(), 0))
	s.progress(start)
	if s.announce != nil {
		s.announce(s.partition)
	}
	// The manifest is written for as long as anybody may add to it.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var writer errgroup.Group
	writer.Go(func() error { return log.run(writing) })
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		if err := m.sign(ctx); err != nil {
			return err
		}
		return find.find(ctx)
	})
	all.Go(func() error { return s.readAll(ctx, all, start, out) })
	err = all.Wait()
	stop()
	if werr := writer.Wait(); werr != nil { // why nothing could be added any more
		return folderError(s.dir, werr)
	}
	return err
}

// planned is an object that is to be read next, or soon.
type planned struct {
	seq, index int64
	ref        Ref
	d          *download // nil where there is nothing to fetch
}

// readAll reads the objects of the manifest from an offset on: it fetches some
// ahead and reads them in order.
func (s *Source) readAll(ctx context.Context, all *errgroup.Group, start int64, out sources.Emit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run := func(f func() error) { all.Go(f) }
	plan := make(chan planned, s.config.Downloads-1) // with the one being read, so many at once
	all.Go(func() error {
		defer close(plan)
		if err := s.plan(ctx, run, start, plan); ctx.Err() == nil {
			return err
		}
		return nil // whoever ended it says why
	})
	r := &reader{s: s, out: out, run: run}
	var err error
	for p := range plan {
		if err == nil {
			if err = r.object(ctx, p.seq, p.index, p.ref, p.d); err != nil {
				cancel() // what is planned beyond is let go
			}
		} else if p.d != nil {
			p.d.end()
		}
	}
	return err
}

// plan begins to fetch one object of the manifest after the other.
func (s *Source) plan(ctx context.Context, run func(func() error), start int64, to chan<- planned) error {
	for seq, index := placeOf(start); ; seq, index = seq+1, 0 {
		ref, err := s.manifest.read(ctx, seq)
		if err != nil {
			return err
		}
		p := planned{seq: seq, index: index, ref: ref}
		if ref.Flaw == "" && s.treat(ref.Key).Skip == "" {
			p.d = s.download(ctx, run, ref)
		}
		select {
		case to <- p:
		case <-ctx.Done():
			if p.d != nil {
				p.d.end()
			}
			return ctx.Err()
		}
	}
}

// treat says what is done with an object.
func (s *Source) treat(key string) Treatment {
	if !s.filter.takes(key) {
		return Treatment{Skip: reasonExcluded}
	}
	t := s.format.Treat(key)
	if t.Skip != "" || s.fromKey == nil {
		return t
	}
	match := s.fromKey.FindStringSubmatch(key)
	if match == nil {
		return t
	}
	labels := make(map[string]string, len(t.Labels)+len(match))
	maps.Copy(labels, t.Labels)
	for i, name := range s.fromKey.SubexpNames() {
		if name != "" && match[i] != "" {
			labels[name] = match[i]
		}
	}
	t.Labels = labels
	return t
}

func (s *Source) limits() limits {
	return limits{bytes: int64(s.config.MaxObjectBytes), ratio: s.config.MaxRatio}
}

// drop counts something that was left out.
func (s *Source) drop(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops[reason]++
}

// progress says how far everything was emitted.
func (s *Source) progress(next int64) {
	s.next.Store(next)
	seq, _ := placeOf(next)
	s.manifest.readUpTo(seq)
}

// high is the partition's high watermark, such that the lag counts objects.
func (s *Source) high(next int64) int64 {
	seq, _ := placeOf(next)
	return next + s.opened.Load().manifest.behind(seq)
}

// Commit implements sources.Source: it deletes the messages of the queue whose
// objects a checkpoint holds, and lets the manifest forget.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	offset, ok := next[s.partition]
	o := s.opened.Load()
	if !ok || o == nil {
		return nil // Run begins by it
	}
	s.committed.Store(offset)
	seq, _ := placeOf(offset)
	if err := o.manifest.trim(seq); err != nil {
		return err
	}
	if o.queue == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return o.queue.delete(ctx, offset)
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Cut: s.cut.Load(), Gaps: s.gaps.Load(),
	}
	s.health.Fill(&st)
	s.mu.Lock()
	if len(s.drops) > 0 {
		st.Drops = maps.Clone(s.drops)
	}
	s.mu.Unlock()
	if s.opened.Load() != nil {
		next := s.next.Load()
		st.Partitions = []sources.PartitionStats{{Partition: s.partition, Next: next, HighWatermark: s.high(next)}}
	}
	return st
}

// Close implements sources.Source.
func (s *Source) Close() error {
	o := s.opened.Load()
	if o == nil {
		return nil
	}
	o.clients.close()
	return o.manifest.close()
}

// Labels returns labels with a default for the label type.
func Labels(labels map[string]string, typ string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = make(map[string]string)
	}
	if _, ok := out["type"]; !ok && typ != "" {
		out["type"] = typ
	}
	return out
}

// folderError says what is wrong with the manifest's folder.
func folderError(dir string, err error) error {
	return fmt.Errorf("the manifest in %s: %w", dir, err)
}
