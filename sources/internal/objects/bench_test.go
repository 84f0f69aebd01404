package objects

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sluice/pipeline"
	"sluice/sources"
)

// plainStore is a store of so many objects with one content.
type plainStore struct {
	n    int
	text string
}

func (p plainStore) GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(p.text)), ContentLength: aws.Int64(int64(len(p.text)))}, nil
}

func (p plainStore) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out := &s3.ListObjectsV2Output{}
	first := 0
	if in.StartAfter != nil {
		fmt.Sscanf(*in.StartAfter, "%d", &first)
		first++
	}
	for i := first; i < min(p.n, first+1000); i++ {
		out.Contents = append(out.Contents, types.Object{Key: aws.String(fmt.Sprintf("%09d", i)), Size: aws.Int64(1), LastModified: aws.Time(time.Unix(1714564800, 0))})
	}
	out.IsTruncated = aws.Bool(first+1000 < p.n)
	return out, nil
}

// BenchmarkObjects lists, numbers, fetches, unpacks and splits objects of 100 entries
// of CloudTrail each, from a store that takes no time.
func BenchmarkObjects(b *testing.B) {
	text := `{"Records":[` + strings.TrimSuffix(strings.Repeat(cloudTrailEntry+",", 100), ",") + `]}`
	c := Default()
	c.Bucket, c.Region, c.MaxPending = "logs", "r", 5000
	f := Format{Module: "test", Topic: "logs/", Prefixes: []string{""}, Treat: func(string) Treatment { return Treatment{Entries: true} }}
	s, err := New("in", c, f, sources.Env{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	s.connect = func(context.Context) (clients, error) {
		return clients{store: plainStore{b.N, zipped(text)}, close: func() {}}, nil
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	b.ResetTimer()
	end := offsetOf(int64(b.N), 0)
	err = s.Run(ctx, nil, func(_ context.Context, rb *pipeline.RecordBatch) error {
		if rb.Next == end {
			cancel()
		}
		if rb.Release != nil {
			rb.Release()
		}
		return nil
	})
	if ctx.Err() == nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "records/s")
}
