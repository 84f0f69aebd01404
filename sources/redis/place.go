package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/sources"
)

// standing is how a stream stands.
type standing struct {
	exists bool
	length int64
	first  int64 // the offset of its first entry, 0 when unknown or when there is none
	last   int64 // the offset of the last id it gave
	added  int64 // how many entries were ever added; 0 when unknown, as before Redis 7
}

// stands asks how the stream stands.
func (r *reader) stands(ctx context.Context) (*standing, error) {
	ctx, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
	defer cancel()
	info, err := r.s.client.XInfoStream(ctx, r.stream.key).Result()
	if err != nil {
		if noKey(err) {
			return &standing{}, nil
		}
		if strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return nil, &finalError{errors.New("the key is no stream")}
		}
		return nil, fmt.Errorf("asking how the stream stands: %w", err)
	}
	st := &standing{exists: true, length: info.Length, added: info.EntriesAdded}
	for id, offset := range map[string]*int64{info.LastGeneratedID: &st.last, info.FirstEntry.ID: &st.first} {
		if id == "" {
			continue
		}
		if *offset, err = offsetOf(id); err != nil {
			return nil, &finalError{fmt.Errorf("%w; the stream cannot be read from here", err)}
		}
	}
	return st, nil
}

func noKey(err error) bool { return strings.Contains(err.Error(), "no such key") }

// look compares the position with what the stream holds, and learns how much is
// left. It returns how the stream stands, and the group where there is one.
func (r *reader) look(ctx context.Context) (*standing, *membership, error) {
	st, err := r.stands(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := r.groupStands(ctx)
	if err != nil {
		return nil, nil, err
	}
	if m != nil && m.read > 0 && m.delivered == r.next-1 {
		r.read = m.read
	}
	if r.known && r.next > 1 {
		if err := r.check(st, m); err != nil {
			return nil, nil, err
		}
	}
	if r.measure(st); r.s.config.SharedGroup {
		r.left = -1
		if m != nil {
			r.left = m.lag
		}
	}
	r.stream.note(r.next, r.left)
	return st, m, nil
}

// groupStands asks how the group stands, where there is one.
func (r *reader) groupStands(ctx context.Context) (*membership, error) {
	if r.s.config.Group == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
	defer cancel()
	return r.s.group(ctx, r.stream.key)
}

// check tells whether entries are gone that were to be read.
func (r *reader) check(st *standing, m *membership) error {
	switch {
	case st.last < r.next-1:
		what := fmt.Sprintf("the last id is %s, which is before the position %s: the stream was made anew or restored", idOf(st.last), idOf(r.next-1))
		if !st.exists {
			what = "the stream is gone"
		}
		// What is there while this runs was read before, or the ids would be later: they are times.
		return r.lost(what, st, r.proven)
	case r.trimmed(st, m):
		what := fmt.Sprintf("entries behind %s were trimmed away", idOf(r.next-1))
		if !r.s.config.SharedGroup && (r.read < 0 || st.added == 0) {
			what = fmt.Sprintf("the last entry that was read, %s, was trimmed away, and with it may have been others behind it", idOf(r.next-1))
		}
		return r.lost(what, st, false)
	}
	return nil
}

// trimmed tells whether entries at or behind next are gone, or may be.
func (r *reader) trimmed(st *standing, m *membership) bool {
	emptied := st.length == 0 && st.last >= r.next
	if !emptied && st.first <= r.next { // also where the first is not known
		return false // it begins before the position, or nothing came since
	}
	if r.s.config.Group != "" && r.s.config.SharedGroup {
		// Others read, too: what is pending here and gone is found by its id, what was never delivered by counting.
		missed := m != nil && m.read > 0 && st.added > 0 && st.added-st.length > max(m.read, r.missed)
		r.missed = max(r.missed, st.added-st.length)
		return missed
	}
	if r.read >= 0 && st.added > 0 {
		return st.added-st.length > r.read
	}
	return true
}

// lost goes on where on_reset says after entries are gone. A position at which
// durable state stands is not given up without a word. behind says that what is there was read already.
func (r *reader) lost(what string, st *standing, behind bool) error {
	held := r.held && !r.proven
	next := r.next
	switch r.s.config.OnReset.At(held) {
	case sources.ResetFail:
		if held {
			return &finalError{sources.HeldError(what, "entries", r.stream.part)}
		}
		return &finalError{fmt.Errorf("%s; set on_reset: earliest to go on with what is there, or latest", what)}
	case sources.ResetLatest:
		next = st.last + 1
	default:
		switch {
		case st.last < r.next-1 && !behind:
			next = 1
		case st.length == 0 || st.last < r.next-1:
			next = st.last + 1
		default:
			next = max(next, st.first)
		}
	}
	r.s.gaps.Add(1)
	r.s.log.Warn("entries are missing", "stream", r.stream.key, "why", what, "next", idOf(next))
	r.next, r.known, r.read = next, true, -1
	if st.added > 0 && next <= st.first {
		r.read = st.added - st.length
	}
	r.held = r.held && r.proven // it is given up
	r.stream.reset(next)
	return nil
}

// measure learns how many entries are left and how many were added before the position.
func (r *reader) measure(st *standing) {
	switch {
	case st.last < r.next || st.length == 0:
		r.read, r.left = -1, 0
		if st.added > 0 {
			r.read = st.added
		}
	case st.first >= r.next && st.added > 0: // all that is there is left
		r.read, r.left = st.added-st.length, st.length
	case r.read >= 0 && st.added > 0:
		r.left = max(st.added-r.read, 1)
	case st.first >= r.next:
		r.left = st.length
	default:
		r.left = -1
	}
}
