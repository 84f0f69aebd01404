package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/sources"
)

// place finds where reading goes on and puts the consumer there.
func (r *reader) place(ctx context.Context, js jetstream.JetStream) error {
	ask, cancel := context.WithTimeout(ctx, 4*r.s.config.RequestTimeout) // a few requests
	defer cancel()
	stream, err := js.Stream(ask, r.s.config.Stream)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) && r.s.config.MissingStream == missingFail {
			return &finalError{errors.New("it does not exist; create it, or set missing_stream: wait")}
		}
		return fmt.Errorf("asking for the stream: %w", err)
	}
	info := stream.CachedInfo()
	r.stream, r.last, r.replicated = stream, 0, info.Config.Replicas > 1
	queue := info.Config.Retention == jetstream.WorkQueuePolicy
	r.limits, r.filtered, r.jumped, r.left = info.Config.Retention == jetstream.LimitsPolicy, len(r.s.config.FilterSubjects) > 0, 0, -1
	switch {
	case r.limits || r.s.config.Consumer != "":
	case queue:
		return &finalError{errors.New("its retention is workqueue, so it has to be read through a durable consumer; set consumer")}
	default:
		return &finalError{errors.New("its retention is interest, so it keeps only what a durable consumer asks for; set consumer")}
	}
	r.announce()
	if err := r.check(info); err != nil {
		return err
	}
	// Acknowledging all before one is cheaper, but a work queue takes one by one only.
	r.all = r.s.config.Consumer != "" && !queue
	if r.s.config.Consumer == "" {
		err = r.passing(ask, stream, info)
	} else {
		err = r.durable(ask, stream, info)
	}
	if err != nil {
		return r.refusal(err)
	}
	now, err := r.consumer.Info(ask)
	if err != nil {
		return fmt.Errorf("asking how the consumer stands: %w", err)
	}
	r.owned = true
	return r.stands(ctx, info, now)
}

// announce names the partition, once it is known that there is one.
func (r *reader) announce() {
	if r.s.announce != nil && !r.said {
		r.s.announce(r.s.part)
	}
	r.said = true
}

// taken is the error of a consumer that bears another's mark by now.
func (r *reader) taken() error {
	return &finalError{fmt.Errorf("another process has taken the consumer %q; two that read through one would take each other's messages: "+
		"give each instance a consumer and filter_subjects of its own", r.s.config.Consumer)}
}

// refusal makes those errors final that come again until a person helps.
func (r *reader) refusal(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrConsumerMultipleFilterSubjectsNotSupported):
		return &finalError{errors.New("the server is older than 2.10 and takes one filter subject only")}
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return &finalError{fmt.Errorf("consumer %q is a push consumer; name another", r.s.config.Consumer)}
	case errors.As(err, &api) && api.Code == 400 && !passes(api.ErrorCode):
		return &finalError{fmt.Errorf("the server refuses the consumer: %w", err)}
	}
	return err
}

// passes tells of a refusal whether it comes of another process that makes
// the same consumer at the moment: such a consumer exists, or differs.
func passes(code jetstream.ErrorCode) bool {
	switch code {
	case 10012, 10013, 10105, 10148:
		return true
	}
	return false
}

// check compares the position with what the stream holds.
func (r *reader) check(info *jetstream.StreamInfo) error {
	if !r.known {
		return nil
	}
	first, last := info.State.FirstSeq, info.State.LastSeq
	if r.made.IsZero() {
		made, err := r.s.identity.load()
		if err != nil {
			return &finalError{err}
		}
		r.made = made
	}
	switch {
	case !r.made.IsZero() && !r.made.Equal(info.Created):
		return r.lost(fmt.Sprintf("the stream was deleted and made anew at %s", info.Created.UTC().Format(time.RFC3339)), first, last)
	case r.next > last+1:
		return r.lost(fmt.Sprintf("sequence %d is past the end (the last is %d): the stream was made anew or restored", r.next, last), first, last)
	case r.next < first && r.limits && r.filtered && r.replicated:
		r.s.log.Warn("the stream has dropped messages since the position; were any of these subjects, they are missing",
			"stream", r.s.config.Stream, "position", r.next, "first", first)
	case r.next < first && (r.limits || !r.filtered):
		return r.lost(fmt.Sprintf("sequence %d is gone (the first is %d)", r.next, first), first, last)
	}
	return nil
}

// lost goes on where on_reset says after messages are gone. A position at which
// durable state stands is not given up without a word.
func (r *reader) lost(what string, first, last uint64) error {
	held := r.held && !r.proven
	next := max(first, 1)
	switch r.s.config.OnReset.At(held) {
	case sources.ResetFail:
		if held {
			return &finalError{sources.HeldError(what, "messages", r.s.part)}
		}
		return &finalError{fmt.Errorf("%s; set on_reset: earliest to go on from the earliest, or latest", what)}
	case sources.ResetLatest:
		next = last + 1
	}
	r.gap(what, next)
	r.begin(next)
	return nil
}

// gap counts messages that are missing, and says so.
func (r *reader) gap(what string, next uint64) {
	r.s.gaps.Add(1)
	r.s.log.Warn("messages are missing", "stream", r.s.config.Stream, "why", what, "next", next)
}

// begin sets where reading goes on, wherever it stood before.
func (r *reader) begin(next uint64) {
	r.known, r.next, r.told, r.made = true, next, 0, time.Time{}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.committed = next
}

// passing makes a consumer that acknowledges nothing and that the server deletes once nobody uses it.
func (r *reader) passing(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	c := r.consumerConfig(info)
	c.AckPolicy, c.AckWait, c.MaxAckPending, c.InactiveThreshold = jetstream.AckNonePolicy, 0, 0, time.Minute
	if r.known {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, max(r.next, 1), nil
	}
	var err error
	r.consumer, err = stream.CreateConsumer(ctx, c)
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	return nil
}

// consumerConfig is the consumer as it is made: where the configuration says
// for one that begins, else at what was committed.
func (r *reader) consumerConfig(info *jetstream.StreamInfo) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Name: r.s.config.Consumer, Durable: r.s.config.Consumer, Description: r.s.mark,
		AckPolicy: jetstream.AckAllPolicy, AckWait: r.s.config.AckWait, MaxAckPending: r.s.config.MaxAckPending,
	}
	if !r.all {
		c.AckPolicy = jetstream.AckExplicitPolicy
	}
	if f := r.s.config.FilterSubjects; len(f) == 1 {
		c.FilterSubject = f[0]
	} else {
		c.FilterSubjects = f
	}
	start := r.s.config.startTime()
	switch {
	case info.Config.Retention == jetstream.WorkQueuePolicy:
		c.DeliverPolicy = jetstream.DeliverAllPolicy // it allows no other; what is through is acknowledged when it comes
	case r.known:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(r.committed(), 1)
	case r.s.config.Start == StartLatest: // not by policy, which would mean another place after a lost answer
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, info.State.LastSeq+1
	case !start.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	default:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return c
}

// durable puts the durable consumer in place: as it stands when that is where
// reading goes on, else by making it anew.
func (r *reader) durable(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	r.s.acks.reset(r.all)
	there, err := stream.Consumer(ctx, r.s.config.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return r.create(ctx, stream, info)
	}
	if err != nil {
		return fmt.Errorf("asking for consumer %s: %w", r.s.config.Consumer, err)
	}
	stands := there.CachedInfo()
	if r.owned && stands.Config.Description != r.s.mark {
		return r.taken()
	}
	if err := r.checkFloor(stands, info); err != nil {
		return err
	}
	if !r.known {
		r.begin(stands.AckFloor.Stream + 1)
	}
	want := r.consumerConfig(info)
	fits := stands.Config.AckPolicy == want.AckPolicy && slices.Equal(filters(&stands.Config), filters(&want))
	// Requests that wait are of a process that ended, or of a connection that the server has not seen close:
	// what is published next would go to them, and come again only after AckWait. They end with the consumer.
	if !fits || stands.NumWaiting > 0 || stands.NumAckPending > 0 || stands.Delivered.Stream >= max(r.next, 1) {
		return r.recreate(ctx, stream, info)
	}
	marked := stands.Config
	marked.Description, marked.AckWait, marked.MaxAckPending = want.Description, want.AckWait, want.MaxAckPending
	if r.consumer, err = stream.CreateOrUpdateConsumer(ctx, marked); err != nil {
		return fmt.Errorf("taking up consumer %s: %w", r.s.config.Consumer, err)
	}
	return r.unguard(ctx, stream, info)
}

func filters(c *jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// checkFloor tells whether messages behind the state's position were
// acknowledged, where the stream deletes those: then the state is an older copy, or another one read through the consumer.
func (r *reader) checkFloor(stands *jetstream.ConsumerInfo, info *jetstream.StreamInfo) error {
	floor := stands.AckFloor.Stream
	if r.limits || !r.known || !r.held || r.proven || floor < r.next {
		return nil
	}
	if r.filtered && r.replicated {
		r.s.log.Warn("the consumer's acknowledgements go beyond the state; were they not for other subjects alone, messages are missing from it",
			"consumer", r.s.config.Consumer, "acknowledged", floor, "state", r.next)
		return nil
	}
	return r.lost(fmt.Sprintf("the consumer %q has acknowledged messages up to %d, and the state has read up to %d", r.s.config.Consumer, floor, r.next-1),
		max(floor+1, info.State.FirstSeq), max(floor, info.State.LastSeq))
}

// create makes the consumer where there is none.
func (r *reader) create(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	if info.Config.Retention == jetstream.InterestPolicy && r.known && r.next <= info.State.LastSeq && !r.guarded(ctx, stream) {
		err := r.lost(fmt.Sprintf("the consumer %q is gone, and what came from sequence %d on may be gone with it (the first there is %d)",
			r.s.config.Consumer, r.next, info.State.FirstSeq), max(r.next, info.State.FirstSeq), info.State.LastSeq)
		if err != nil {
			return err
		}
	}
	// Not to update one that another process made in the meantime: it would go on reading through it, too.
	var err error
	if r.consumer, err = stream.CreateConsumer(ctx, r.consumerConfig(info)); err != nil {
		return fmt.Errorf("making consumer %s: %w", r.s.config.Consumer, err)
	}
	return r.unguard(ctx, stream, info)
}

// recreate makes the consumer anew. Retention by interest would delete what
// no other consumer asks for meanwhile, so a guard asks for it.
func (r *reader) recreate(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	if info.Config.Retention == jetstream.InterestPolicy {
		guard := r.consumerConfig(info)
		guard.Name, guard.Durable = r.guard(), r.guard()
		if _, err := stream.CreateOrUpdateConsumer(ctx, guard); err != nil {
			return fmt.Errorf("making consumer %s: %w", guard.Name, err)
		}
	}
	if err := stream.DeleteConsumer(ctx, r.s.config.Consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("deleting consumer %s, to put it back: %w", r.s.config.Consumer, err)
	}
	return r.create(ctx, stream, info)
}

// guard is the name of the consumer that keeps the interest.
func (r *reader) guard() string { return r.s.config.Consumer + "_guard" }

func (r *reader) guarded(ctx context.Context, stream jetstream.Stream) bool {
	_, err := stream.Consumer(ctx, r.guard())
	return err == nil
}

// unguard deletes the guard, of now or of a run that was killed.
func (r *reader) unguard(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	if info.Config.Retention != jetstream.InterestPolicy {
		return nil
	}
	if err := stream.DeleteConsumer(ctx, r.guard()); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("deleting consumer %s: %w", r.guard(), err)
	}
	return nil
}

// stands takes over where the consumer begins, and tells the pipeline, so that
// a crash before the first record begins there as well.
func (r *reader) stands(ctx context.Context, info *jetstream.StreamInfo, now *jetstream.ConsumerInfo) error {
	r.delivery = now.Delivered.Consumer + 1
	if !r.known {
		r.begin(now.Delivered.Stream + 1)
	}
	r.left = int64(now.NumPending)
	if r.made.Equal(info.Created) {
		return nil
	}
	if err := r.s.identity.save(info.Created); err != nil {
		return &finalError{err}
	}
	r.made = info.Created
	if r.told >= r.next {
		return nil
	}
	return r.tell(ctx, r.next)
}
