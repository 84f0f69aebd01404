package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an S3 and an SQS in this process. Tests use it inside a bubble of
// synctest: no byte goes over a network, and time is theirs.
type world struct {
	t     *testing.T
	dir   string
	store *fakeStore
	queue *fakeQueue
	// segment is the size of the manifest's files; the usual one when 0.
	segment int64
	log     func(refLog) refLog // around the manifest's log, if not nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	fake := gofakes3.New(s3mem.New())
	client := s3.New(s3.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String("http://fake"), UsePathStyle: true, HTTPClient: inProcess{fake.Server()},
		Credentials:                credentials.NewStaticCredentialsProvider("a", "b", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("logs")}); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: t.TempDir(), store: &fakeStore{Client: client}, queue: newFakeQueue()}
}

// inProcess answers requests without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.Header.Set("Content-Length", strconv.FormatInt(max(0, r.ContentLength), 10))
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// put writes an object.
func (w *world) put(key, text string) {
	w.t.Helper()
	if _, err := w.store.PutObject(w.t.Context(), &s3.PutObjectInput{Bucket: aws.String("logs"), Key: &key, Body: strings.NewReader(text)}); err != nil {
		w.t.Fatal(err)
	}
}

// announce sends a message about objects.
func (w *world) announce(keys ...string) string {
	var records []string
	for _, k := range keys {
		records = append(records, event("ObjectCreated:Put", k))
	}
	return w.queue.send(strings.ReplaceAll(`{"Records":[`+strings.Join(records, ",")+`]}`, `{"name":"b"}`, `{"name":"logs"}`))
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

// fakeStore is an S3 whose answers a test may spoil.
type fakeStore struct {
	*s3.Client
	mu    sync.Mutex
	gets  []string
	spoil func(key string, n int, out *s3.GetObjectOutput) error // n counts the requests for the key, from 1
	lists int
	list  func(in *s3.ListObjectsV2Input) error
}

func (f *fakeStore) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	f.mu.Lock()
	f.gets = append(f.gets, aws.ToString(in.Key)+aws.ToString(in.Range))
	n := 0
	for _, g := range f.gets {
		if strings.Split(g, "bytes=")[0] == *in.Key {
			n++
		}
	}
	spoil := f.spoil
	f.mu.Unlock()
	plain := *in
	plain.IfMatch = nil // gofakes3 takes no conditions
	out, err := f.Client.GetObject(ctx, &plain, o...)
	if err == nil && spoil != nil {
		if err := spoil(*in.Key, n, out); err != nil {
			return nil, err
		}
	}
	return out, err
}

func (f *fakeStore) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	f.mu.Lock()
	f.lists++
	fail := f.list
	f.mu.Unlock()
	if fail != nil {
		if err := fail(in); err != nil {
			return nil, err
		}
	}
	return f.Client.ListObjectsV2(ctx, in, o...)
}

func (f *fakeStore) requests(key string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.gets {
		if strings.HasPrefix(g, key) {
			n++
		}
	}
	return n
}

// fakeQueue is an SQS queue: what is received is hidden for a while.
type fakeQueue struct {
	mu       sync.Mutex
	messages []*fakeMessage
	sent     int
	receipts int
	fail     error
	extended int
	refuse   bool // extensions are refused, as beyond 12 hours
	news     chan struct{}
}

type fakeMessage struct {
	id, body, receipt string
	hidden            time.Time
}

func newFakeQueue() *fakeQueue { return &fakeQueue{news: make(chan struct{})} }

func (q *fakeQueue) send(body string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent++
	m := &fakeMessage{id: "m" + strconv.Itoa(q.sent), body: body}
	q.messages = append(q.messages, m)
	close(q.news)
	q.news = make(chan struct{})
	return m.id
}

func (q *fakeQueue) left() (ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		ids = append(ids, m.id)
	}
	return ids
}

func (q *fakeQueue) GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("https://queue")}, nil
}

func (q *fakeQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	end := time.After(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		q.mu.Lock()
		if q.fail != nil {
			defer q.mu.Unlock()
			return nil, q.fail
		}
		var out sqs.ReceiveMessageOutput
		now := time.Now()
		for _, m := range q.messages {
			if len(out.Messages) < int(in.MaxNumberOfMessages) && !m.hidden.After(now) {
				q.receipts++
				m.receipt = "r" + strconv.Itoa(q.receipts)
				m.hidden = now.Add(time.Duration(in.VisibilityTimeout) * time.Second)
				out.Messages = append(out.Messages, types.Message{MessageId: &m.id, ReceiptHandle: aws.String(m.receipt), Body: &m.body})
			}
		}
		news := q.news
		q.mu.Unlock()
		if len(out.Messages) > 0 {
			return &out, nil
		}
		select {
		case <-news:
		case <-time.After(time.Second): // one may have become visible
		case <-end:
			return &out, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *fakeQueue) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return nil, q.fail
	}
	for _, e := range in.Entries {
		q.messages = slices.DeleteFunc(q.messages, func(m *fakeMessage) bool { return m.receipt == *e.ReceiptHandle })
	}
	return &sqs.DeleteMessageBatchOutput{}, nil
}

func (q *fakeQueue) ChangeMessageVisibilityBatch(_ context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return nil, q.fail
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	for _, e := range in.Entries {
		for _, m := range q.messages {
			switch {
			case m.receipt != *e.ReceiptHandle:
			case q.refuse:
				out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, SenderFault: true, Code: aws.String("InvalidParameterValue")})
			default:
				q.extended++
				m.hidden = time.Now().Add(time.Duration(e.VisibilityTimeout) * time.Second)
			}
		}
	}
	return out, nil
}

// run is a run of a source, and what it emitted.
type run struct {
	w      *world
	s      *Source
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	lines []string
	dead  []pipeline.DeadLetter
	next  int64
	block chan struct{} // while it is not closed, nothing is taken; nil is open
	bad   error
}

// start runs a source from an offset.
func (w *world) start(from int64, edit func(*Config, *Format)) *run {
	w.t.Helper()
	c := Default()
	f := Format{Module: "test", Topic: "logs/", Prefixes: []string{""}, Treat: func(string) Treatment { return Treatment{} }}
	c.Region, c.Queue = "eu-west-1", "https://queue/q"
	edit(&c, &f)
	s, err := New("in", c, f, sources.Env{Dir: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.segment > 0 {
		s.segment = w.segment
	}
	if w.log != nil {
		s.openLog = func(dir string) (refLog, error) {
			l, err := s.openJournal(dir)
			return w.log(l), err
		}
	}
	s.connect = func(context.Context) (clients, error) {
		return clients{store: w.store, queue: w.queue, close: func() {}}, nil
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	r := &run{w: w, s: s, cancel: cancel, done: make(chan error, 1), next: from}
	go func() { r.done <- s.Run(ctx, sources.Positions{s.partition: from}, r.emit) }()
	return r
}

func (r *run) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	r.mu.Lock()
	block := r.block
	r.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.next
	for i := range b.Records {
		rec := &b.Records[i]
		if rec.Offset < at || rec.Time.IsZero() {
			r.bad = fmt.Errorf("offset %d behind %d, at %v", rec.Offset, at, rec.Time)
		}
		at = rec.Offset + 1
		seq, index := placeOf(rec.Offset)
		r.lines = append(r.lines, fmt.Sprintf("%d.%d %s", seq, index, rec.Value))
	}
	if b.Next < at {
		r.bad = fmt.Errorf("next is %d behind a record before %d", b.Next, at)
	}
	r.dead = append(r.dead, b.Dead...)
	r.next = b.Next
	if b.Release != nil {
		for i := range b.Records { // nobody may rely on it from now on
			clear(b.Records[i].Value)
		}
		b.Release()
	}
	return r.bad
}

// said returns what was emitted.
func (r *run) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, ", ")
}

// behind returns the offset behind what was emitted.
func (r *run) behind() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// commit says that a checkpoint holds all before an offset.
func (r *run) commit(next int64) {
	r.w.t.Helper()
	if err := r.s.Commit(r.w.t.Context(), sources.Positions{r.s.partition: next}); err != nil {
		r.w.t.Fatal(err)
	}
}

// stop ends the run.
func (r *run) stop() {
	r.w.t.Helper()
	r.cancel()
	if err := <-r.done; !errors.Is(err, context.Canceled) {
		r.w.t.Errorf("the run ended with %v", err)
	}
	if err := r.s.Close(); err != nil {
		r.w.t.Error(err)
	}
	if r.bad != nil {
		r.w.t.Error(r.bad)
	}
}

// later lets time pass, and whatever it sets going come to rest.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
