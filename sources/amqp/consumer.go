package amqp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// Bounds of a run of messages that is put at once.
const (
	maxRunRecords = 1000
	maxRunBytes   = 1 << 20
)

// consumer reads one queue. It is one goroutine's but for its channel's acknowledgements.
type consumer struct {
	source *Source
	queue  string
	ids    *ids // nil where messages have none
	stale  []string

	mu   sync.Mutex
	acks *acks // of the channel that was opened last
}

// putError is an error of the intake, after which there is no way on.
type putError struct{ error }

func (e putError) Unwrap() error { return e.error }

// run consumes the queue over a connection until the connection is lost, ctx
// is done or the intake refuses. Trouble of the queue alone is retried. What was received by then
// is put with the context of the source, which outlives the connection's.
func (c *consumer) run(ctx, put context.Context, conn *amqp091.Connection) error {
	s := c.source
	backoff := sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
	backoff.Reset()
	what := "queue " + c.queue
	for {
		began := s.clock.Now()
		err := c.consume(ctx, put, conn, what)
		if ctx.Err() != nil || errors.As(err, new(putError)) || conn.IsClosed() {
			s.health.Forget(what)
			return err
		}
		s.health.Failed(what, err)
		if s.clock.Now().Sub(began) >= s.config.BackoffMax {
			backoff.Reset()
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// consume opens a channel and takes the queue's messages from it.
func (c *consumer) consume(ctx, put context.Context, conn *amqp091.Connection, what string) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("opening a channel: %w", err)
	}
	canceled := ch.NotifyCancel(make(chan string, 1))
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	deliveries, err := c.subscribe(ctx, conn, ch, what)
	if err != nil {
		_ = ch.Close()
		return err
	}
	c.source.health.Well(what)
	c.source.health.Well(whatBroker)
	a := &acks{channel: ch, wake: make(chan struct{}, 1)}
	c.mu.Lock()
	c.acks = a
	c.mu.Unlock()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(inner) })
	g.Go(func() error { return c.take(inner, put, deliveries, a, canceled, closed) })
	err = g.Wait()
	// Where the run ends, which a Put may learn before ctx does, the last acknowledgements are yet to come.
	if ctx.Err() == nil && !errors.As(err, new(putError)) {
		_ = ch.Close() // the broker gives what is unacknowledged to the next channel
	}
	return err
}

// subscribe asks for the queue's messages. A broker whose queue has no leader
// may take its time for the answer: that is said, but breaks off nothing of the other queues.
func (c *consumer) subscribe(ctx context.Context, conn *amqp091.Connection, ch *amqp091.Channel, what string) (<-chan amqp091.Delivery, error) {
	// The library's calls know no context, and end early only with the connection.
	defer context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now()) })()
	answered := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-answered:
		case <-ctx.Done():
		case <-c.source.clock.After(c.source.config.ConnectTimeout):
			c.source.health.Failed(what, fmt.Errorf("the broker does not answer for the queue %q; it may have no leader", c.queue))
		}
	})
	defer watch.Wait()
	defer close(answered)
	config := &c.source.config
	if err := ch.Qos(config.Prefetch, 0, false); err != nil {
		return nil, fmt.Errorf("setting the prefetch count: %w", err)
	}
	if err := c.declare(ch); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(c.queue, "", false, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consuming the queue %q: %w", c.queue, err)
	}
	return deliveries, nil
}

// declare makes sure that the queue is there: it makes it only if the configuration says so.
func (c *consumer) declare(ch *amqp091.Channel) error {
	create := &c.source.config.Create
	if create.Type == "" {
		if _, err := ch.QueueDeclarePassive(c.queue, false, false, false, false, nil); err != nil {
			return fmt.Errorf("the queue %q is not there or not to be read; make it, or set create: %w", c.queue, err)
		}
		return nil
	}
	if _, err := ch.QueueDeclare(c.queue, true, false, false, false, amqp091.Table{amqp091.QueueTypeArg: create.Type}); err != nil {
		return fmt.Errorf("making the queue %q of type %s, which must not be there otherwise: %w", c.queue, create.Type, err)
	}
	for _, b := range create.Bindings {
		if err := ch.QueueBind(c.queue, b.RoutingKey, b.Exchange, false, nil); err != nil {
			return fmt.Errorf("binding the queue %q to the exchange %q: %w", c.queue, b.Exchange, err)
		}
	}
	return nil
}

// run is messages that are put together.
type run struct {
	records []pipeline.Record
	bytes   int
	marks   map[string]string
	tag     uint64 // of the last message, also of one that makes no record
}

// take puts messages until there are no more.
func (c *consumer) take(ctx, put context.Context, deliveries <-chan amqp091.Delivery, a *acks, canceled <-chan string, closed <-chan *amqp091.Error) error {
	var n run
	c.forget(&n)
	for {
		var d amqp091.Delivery
		var open bool
		select {
		case d, open = <-deliveries:
		default:
			if err := c.flush(put, &n, a); err != nil {
				return err
			}
			select {
			case d, open = <-deliveries:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !open {
			return errors.Join(c.flush(put, &n, a), c.ended(canceled, closed))
		}
		c.add(&n, &d)
		if len(n.records) >= maxRunRecords || n.bytes >= maxRunBytes {
			if err := c.flush(put, &n, a); err != nil {
				return err
			}
		}
	}
}

// forget puts what the marks hold in vain into a run, once.
func (c *consumer) forget(n *run) {
	for _, mark := range c.stale {
		n.set(mark, "")
	}
	c.stale = nil
}

func (n *run) set(mark, value string) {
	if n.marks == nil {
		n.marks = make(map[string]string)
	}
	n.marks[mark] = value
}

// ended says why there are no more messages.
func (c *consumer) ended(canceled <-chan string, closed <-chan *amqp091.Error) error {
	select {
	case err, ok := <-closed:
		if ok && err != nil {
			return fmt.Errorf("the broker closed the channel: %w", err)
		}
	default:
	}
	select {
	case _, ok := <-canceled:
		if ok {
			return fmt.Errorf("the broker ended reading the queue %q: it was deleted, or its leader has changed", c.queue)
		}
	default:
	}
	return errors.New("the connection is lost")
}

// add takes a message into a run.
func (c *consumer) add(n *run, d *amqp091.Delivery) {
	s := c.source
	n.tag = d.DeliveryTag
	again := d.Redelivered || deliveryCount(d.Headers) > 0
	if c.ids != nil && d.MessageId != "" {
		if again && c.ids.has(d.MessageId) {
			s.skipped.Add(1)
			return
		}
		mark, value := c.ids.add(d.MessageId)
		if s.durable {
			n.set(mark, value)
		}
	}
	if len(d.Body) == 0 {
		s.skipped.Add(1)
		return
	}
	limit := int(s.config.MaxPayloadBytes)
	if len(d.Body) > limit {
		d.Body = append([]byte(nil), d.Body[:limit]...) // the rest is given back to memory
		s.cut.Add(1)
	}
	if again {
		s.redelivered.Add(1)
	}
	n.records = append(n.records, pipeline.Record{Value: d.Body, Key: []byte(d.RoutingKey), Headers: headers(d), Time: s.clock.Now()})
	n.bytes += len(d.Body)
}

// flush puts a run and begins the next. A run of nothing but acknowledgements
// goes through the intake too: what they acknowledge may be in runs that are not safe yet.
func (c *consumer) flush(ctx context.Context, n *run, a *acks) error {
	r := *n
	*n = run{}
	if r.tag == 0 && len(r.marks) == 0 {
		return nil
	}
	if len(r.records) == 0 && len(r.marks) == 0 {
		r.set("nothing", "")
	}
	e := intake.Entry{Topic: c.queue, Labels: c.source.config.Labels, Records: r.records, Marks: r.marks}
	err := c.source.in.Put(ctx, e, func(err error) { a.safe(r.tag, err) })
	if err != nil {
		return putError{err}
	}
	return nil
}

// deliveryCount is how often a quorum queue has delivered a message before.
func deliveryCount(t amqp091.Table) int64 {
	switch n := t["x-delivery-count"].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}

// headers are those of a message and its properties.
func headers(d *amqp091.Delivery) []pipeline.Header {
	out := make([]pipeline.Header, 0, len(d.Headers)+4)
	for _, p := range [...]struct{ key, value string }{
		{"exchange", d.Exchange}, {"routing_key", d.RoutingKey}, {"message_id", d.MessageId}, {"app_id", d.AppId},
		{"content_type", d.ContentType}, {"message_type", d.Type},
	} {
		if p.value != "" {
			out = append(out, pipeline.Header{Key: p.key, Value: []byte(p.value)})
		}
	}
	for key, value := range d.Headers {
		if text, ok := headerText(value); ok {
			out = append(out, pipeline.Header{Key: key, Value: text})
		}
	}
	return out
}

// headerText writes a simple value; lists and tables are left out.
func headerText(value any) ([]byte, bool) {
	switch v := value.(type) {
	case string:
		return []byte(v), true
	case []byte:
		return v, true
	case bool:
		return strconv.AppendBool(nil, v), true
	case time.Time:
		return v.UTC().AppendFormat(nil, time.RFC3339), true
	case byte, int8, int, int16, uint16, int32, uint32, int64, float32, float64:
		return fmt.Append(nil, v), true
	}
	return nil, false
}

// acks acknowledges the messages of one channel, each with all before it.
// Any goroutine may say what is safe.
type acks struct {
	channel *amqp091.Channel
	wake    chan struct{} // holds one

	mu      sync.Mutex
	tag     uint64 // up to which all is safe
	sent    uint64
	refused uint64 // the first that never will be safe, as far as is known: neither it nor what is behind it may be acknowledged
}

// safe says that the messages of a run, whose last has this tag, are safe, or
// never will be. A run that is refused says so at once, while those before it
// may yet become safe.
func (a *acks) safe(tag uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && (a.refused == 0 || tag < a.refused) {
		a.refused = tag
	}
	if err != nil || a.refused != 0 && tag >= a.refused {
		return
	}
	a.tag = max(a.tag, tag)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run acknowledges until ctx is done.
func (a *acks) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
			if err := a.flush(); err != nil {
				return fmt.Errorf("acknowledging: %w", err)
			}
		}
	}
}

// flush acknowledges what is safe. One goroutine at a time calls it.
func (a *acks) flush() error {
	a.mu.Lock()
	tag := a.tag
	due := tag > a.sent
	a.sent = tag
	a.mu.Unlock()
	if !due {
		return nil
	}
	return a.channel.Ack(tag, true)
}
