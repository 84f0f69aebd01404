package s3

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"text/template"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/awsconn"
	"sluice/sinks"
)

// Sink puts alerts into a bucket. See the package's comment.
type Sink struct {
	name   string
	config Config
	prefix *template.Template
	client *s3.Client
	close  func()
	note   *note

	alerts, decisions, bytes, failed, rejected atomic.Uint64
}

// New makes the sink. It reads AWS's files and the note of a run before, and connects to nothing.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	prefix, err := c.prefix()
	if err != nil {
		return nil, err
	}
	loaded, err := c.Load(context.Background())
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	begun, err := openNote(env.Dir, name)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = c.PathStyle
		// Content-MD5 says what the body must be, which all services know; S3's
		// newer sums come behind the body, which many do not.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	return &Sink{name: name, config: c, prefix: prefix, client: client, close: func() { awsconn.CloseIdle(loaded) }, note: begun}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Batch implements sinks.Batcher. The first batch of a run is the one that the
// run before began last, whether or not that was delivered.
func (s *Sink) Batch() (alerts int, wait time.Duration) {
	if s.note.resumed {
		return s.note.last.Alerts, s.config.BatchWait
	}
	return s.config.BatchAlerts, s.config.BatchWait
}

// Alerts implements sinks.Sink: each partition of the batch becomes an object.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	rejected := &sinks.RejectedError{}
	err := s.deliver(ctx, alerts, rejected)
	switch {
	case err != nil:
		s.failed.Add(1)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("sink %s: %w", s.name, err)
	case len(rejected.Alerts) > 0:
		slices.Sort(rejected.Alerts)
		s.rejected.Add(uint64(len(rejected.Alerts)))
		return rejected
	}
	return nil
}

func (s *Sink) deliver(ctx context.Context, alerts []pipeline.Alert, rejected *sinks.RejectedError) error {
	objects, err := s.objects(alerts, rejected)
	if err != nil {
		return err
	}
	if err := s.note.begin(newPending(alerts)); err != nil {
		return err
	}
	errs := make([]error, len(objects))
	var uploads errgroup.Group
	uploads.SetLimit(s.config.Uploads)
	for i := range objects {
		uploads.Go(func() error {
			errs[i] = s.put(ctx, &objects[i])
			return nil
		})
	}
	_ = uploads.Wait() // every object's own error is in errs
	if err := worst(errs); err != nil {
		return err // what was put is put again, as it is
	}
	for i := range objects {
		if errs[i] != nil {
			for _, index := range objects[i].indexes {
				reject(rejected, index, errs[i])
			}
			continue
		}
		s.alerts.Add(uint64(len(objects[i].indexes)))
		s.decisions.Add(uint64(objects[i].decisions))
		s.bytes.Add(uint64(len(objects[i].body)))
	}
	return nil
}

// worst returns the first error that may pass; nil where all others are final.
func worst(errs []error) error {
	for _, err := range errs {
		if err != nil && !final(err) {
			return err
		}
	}
	return nil
}

// objects makes a batch's objects, in the order of their first alerts.
func (s *Sink) objects(alerts []pipeline.Alert, rejected *sinks.RejectedError) ([]object, error) {
	var out []object
	for _, p := range s.partitions(alerts, rejected) {
		body, err := s.config.encode(p, rejected)
		if err != nil {
			return nil, err
		}
		if len(p.alerts) == 0 {
			continue
		}
		o := object{key: p.prefix + s.config.name(p), body: body, indexes: p.indexes}
		for _, a := range p.alerts {
			o.decisions += len(a.Decisions)
		}
		out = append(out, o)
	}
	return out, nil
}

// partitions groups a batch's alerts by their prefix, in the order of their first.
func (s *Sink) partitions(alerts []pipeline.Alert, rejected *sinks.RejectedError) []*partition {
	var out []*partition
	byPrefix := make(map[string]*partition)
	for i := range alerts {
		prefix, at, err := prefixOf(s.prefix, &alerts[i])
		if err != nil {
			reject(rejected, i, fmt.Errorf("alert %s of scenario %s: %w", alerts[i].UUID, alerts[i].Scenario, err))
			continue
		}
		p := byPrefix[prefix]
		if p == nil {
			p = &partition{prefix: prefix, at: at}
			byPrefix[prefix] = p
			out = append(out, p)
		}
		p.alerts, p.indexes = append(p.alerts, &alerts[i]), append(p.indexes, i)
	}
	return out
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.close()
	return nil
}

var _ sinks.Batcher = (*Sink)(nil)
