package objects

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"sluice/sources"
)

// queueAPI is what is asked of SQS.
type queueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

const (
	batchMessages = 10               // SQS takes and gives no more at once
	longPoll      = 20 * time.Second // and waits no longer for messages
	parallelCalls = 4                // deletions and extensions under way at once
	flawBytes     = 4 << 10          // of a message that is not understood are kept
)

// queue finds objects by the messages of an SQS queue. A message is held, and
// its visibility extended, until a checkpoint holds all records of its objects;
// then it is deleted. What is announced again is known from the manifest.
type queue struct {
	s   *Source
	api queueAPI

	mu      sync.Mutex
	url     string
	held    map[string]*heldMessage // by message id
	changed chan struct{}           // closed and made anew when messages were let go
}

// heldMessage is a message that was received and is not deleted yet.
type heldMessage struct {
	id, receipt string
	hiddenUntil time.Time
	// behind is the offset at which a checkpoint holds all of its objects.
	behind int64
	busy   bool // a deletion is under way
}

func newQueue(s *Source, api queueAPI) *queue {
	return &queue{s: s, api: api, held: make(map[string]*heldMessage), changed: make(chan struct{})}
}

// find implements finder.
func (q *queue) find(ctx context.Context) error {
	if err := q.resolve(ctx); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for i := range q.s.config.Receivers {
		all.Go(func() error { return q.receive(ctx, "receiver "+strconv.Itoa(i)) })
	}
	all.Go(func() error { return q.extend(ctx) })
	return all.Wait()
}

// resolve finds the queue's URL.
func (q *queue) resolve(ctx context.Context) error {
	c := &q.s.config
	if strings.Contains(c.Queue, "://") {
		q.setURL(c.Queue)
		return nil
	}
	in := &sqs.GetQueueUrlInput{QueueName: aws.String(c.queueName())}
	if c.QueueOwner != "" {
		in.QueueOwnerAWSAccountId = &c.QueueOwner
	}
	if parts := strings.Split(c.Queue, ":"); len(parts) == 6 { // arn:aws:sqs:REGION:ACCOUNT:NAME
		in.QueueOwnerAWSAccountId = &parts[4]
	}
	return q.s.again(ctx, "the queue", func() error {
		out, err := q.api.GetQueueUrl(ctx, in)
		if err != nil {
			return fmt.Errorf("the queue %s cannot be found: %w", c.Queue, err)
		}
		q.setURL(aws.ToString(out.QueueUrl))
		return nil
	})
}

func (q *queue) setURL(url string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.url = url
}

// room waits until more messages may be held.
func (q *queue) room(ctx context.Context) error {
	for {
		q.mu.Lock()
		full, changed := len(q.held) > q.s.config.MaxInFlight-batchMessages, q.changed
		q.mu.Unlock()
		if !full {
			return q.s.manifest.room(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive receives messages until ctx is done.
func (q *queue) receive(ctx context.Context, what string) error {
	for {
		if err := q.room(ctx); err != nil {
			return err
		}
		var out *sqs.ReceiveMessageOutput
		var asked time.Time
		wait := min(longPoll, q.s.config.StallTimeout/2)
		err := q.s.again(ctx, what, func() (err error) {
			asked = q.s.clock.Now()
			out, err = q.api.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
				QueueUrl: &q.url, MaxNumberOfMessages: batchMessages, WaitTimeSeconds: seconds(wait),
				VisibilityTimeout: seconds(q.s.config.VisibilityTimeout),
			})
			wait = 0 // should it have failed, the next answer comes at once, and says that it works again
			return err
		})
		if err != nil {
			return err
		}
		if err := q.take(ctx, out.Messages, asked); err != nil {
			return err
		}
	}
}

// take puts what messages say into the manifest, and holds them. It deletes those
// of which nothing is left to do.
func (q *queue) take(ctx context.Context, messages []types.Message, asked time.Time) error {
	var refs []Ref
	upTo := make([]int, len(messages)) // refs[:upTo[i]] are of the messages up to i
	for i := range messages {
		refs = append(refs, q.s.announced(aws.ToString(messages[i].MessageId), aws.ToString(messages[i].Body))...)
		upTo[i] = len(refs)
	}
	numbers, err := q.s.manifest.add(ctx, refs, nil)
	if err != nil {
		return err
	}
	q.mu.Lock()
	from := 0
	for i := range messages {
		m := &heldMessage{id: aws.ToString(messages[i].MessageId), receipt: aws.ToString(messages[i].ReceiptHandle),
			hiddenUntil: asked.Add(q.s.config.VisibilityTimeout)}
		for _, n := range numbers[from:upTo[i]] {
			m.behind = max(m.behind, offsetOf(n+1, 0))
		}
		from = upTo[i]
		q.held[m.id] = m // the newest receipt is the one that counts
	}
	q.mu.Unlock()
	if err := q.delete(ctx, q.s.committed.Load()); err != nil && ctx.Err() == nil {
		q.s.health.Failed("deleting messages", err) // Commit tries it again
	}
	return nil
}

// announced returns what a message says of objects that are to be read. A
// message that is not understood is itself on its way to the dead letters.
func (s *Source) announced(id, body string) []Ref {
	n, err := DecodeNotice(body)
	if err != nil {
		return []Ref{{Flaw: err.Error(), Message: id, Body: strings.ToValidUTF8(body[:min(len(body), flawBytes)], "\uFFFD")}}
	}
	s.skipped.Add(uint64(n.Ignored))
	refs := n.Refs[:0]
	for _, r := range n.Refs {
		if skip := s.treat(r.Key).Skip; skip != "" {
			s.drop(skip)
			continue
		}
		refs = append(refs, r)
	}
	return refs
}

// delete deletes the messages whose objects are held by a checkpoint up to an
// offset. Messages that cannot be deleted any more come again.
func (q *queue) delete(ctx context.Context, committed int64) error {
	due := q.pick(func(m *heldMessage) bool { return m.behind <= committed && !m.busy }, true)
	err := inBatches(ctx, due, func(ctx context.Context, part []heldMessage) error {
		entries := make([]types.DeleteMessageBatchRequestEntry, len(part))
		for i := range part {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &part[i].receipt}
		}
		out, err := q.api.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: entries})
		if err != nil {
			q.settle(part, func(int) bool { return false })
			return fmt.Errorf("deleting messages: %w", err)
		}
		failed, err := failures(out.Failed)
		q.settle(part, func(i int) bool { return failed[i] != again })
		return err
	})
	if err == nil && len(due) > 0 {
		q.s.health.Well("deleting messages")
	}
	return err
}

// pick returns copies of the messages that are wanted, and marks them busy if told to.
func (q *queue) pick(wanted func(*heldMessage) bool, busy bool) []heldMessage {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []heldMessage
	for _, m := range q.held {
		if wanted(m) {
			m.busy = m.busy || busy
			out = append(out, *m)
		}
	}
	return out
}

// settle lets go of the messages for which gone holds; the others are not busy any more.
func (q *queue) settle(part []heldMessage, gone func(i int) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range part {
		m := q.held[part[i].id]
		if m == nil {
			continue
		}
		m.busy = false
		if gone(i) && m.receipt == part[i].receipt { // else it has come again meanwhile
			delete(q.held, m.id)
		}
	}
	close(q.changed)
	q.changed = make(chan struct{})
}

// extend keeps messages hidden while they are held.
func (q *queue) extend(ctx context.Context) error {
	timeout := q.s.config.VisibilityTimeout
	for {
		select {
		case <-q.s.clock.After(timeout / 8):
		case <-ctx.Done():
			return ctx.Err()
		}
		now := q.s.clock.Now()
		due := q.pick(func(m *heldMessage) bool { return m.hiddenUntil.Sub(now) < timeout/2 && !m.busy }, false)
		err := inBatches(ctx, due, func(ctx context.Context, part []heldMessage) error { return q.extendSome(ctx, part, timeout) })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			q.s.health.Failed("extending visibility", err)
		case len(due) > 0:
			q.s.health.Well("extending visibility")
		}
	}
}

// extendSome hides messages for another while. Those that cannot be hidden any
// more, as after SQS's 12 hours, are let go: they come again, and are known then.
func (q *queue) extendSome(ctx context.Context, part []heldMessage, timeout time.Duration) error {
	now := q.s.clock.Now()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(part))
	for i := range part {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &part[i].receipt, VisibilityTimeout: seconds(timeout),
		}
	}
	out, err := q.api.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: entries})
	if err != nil {
		return fmt.Errorf("extending the visibility of messages: %w", err)
	}
	failed, err := failures(out.Failed)
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range part {
		m := q.held[part[i].id]
		switch {
		case m == nil || m.receipt != part[i].receipt:
		case failed[i] == 0:
			m.hiddenUntil = now.Add(timeout)
		case failed[i] == lost && !m.busy:
			delete(q.held, m.id)
		}
	}
	return err
}

// verdict is what became of one message of a batch; 0 is that all went well.
type verdict int

const (
	lost  verdict = iota + 1 // it cannot be done any more: the receipt is void
	again                    // it may be done later
)

// failures reads which messages of a batch failed. Those that are lost are no error.
func failures(entries []types.BatchResultErrorEntry) (map[int]verdict, error) {
	out := make(map[int]verdict)
	var errs []error
	for _, e := range entries {
		i, err := strconv.Atoi(aws.ToString(e.Id))
		if err != nil {
			return nil, fmt.Errorf("SQS answers of a message %q that was not asked about", aws.ToString(e.Id))
		}
		if e.SenderFault {
			out[i] = lost
			continue
		}
		out[i] = again
		errs = append(errs, fmt.Errorf("SQS says %s: %s", aws.ToString(e.Code), aws.ToString(e.Message)))
	}
	return out, errors.Join(errs...)
}

// inBatches calls do for portions of the messages, some at once.
func inBatches(ctx context.Context, messages []heldMessage, do func(context.Context, []heldMessage) error) error {
	var all errgroup.Group
	all.SetLimit(parallelCalls)
	for len(messages) > 0 {
		part := messages[:min(len(messages), batchMessages)]
		messages = messages[len(part):]
		all.Go(func() error { return do(ctx, part) })
	}
	return all.Wait()
}

// patience is how often in a row something must fail to be trouble that is
// told of: endpoints close connections that were idle.
const patience = 2

// again does something until it works or ctx is done; trouble is told once.
func (s *Source) again(ctx context.Context, what string, do func() error) error {
	backoff := sources.Backoff{Clock: s.clock, Min: backoffMin, Max: backoffMax}
	for fails := 1; ; fails++ {
		err := do()
		if err == nil {
			s.health.Well(what)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fails >= patience {
			s.health.Failed(what, err)
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// seconds are what SQS counts in.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }
