package kafka

import (
	"bytes"
	"cmp"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline/decisions"
)

// The headers of the decisions topic. Those for consumers have plain names; a
// key with decisions of several scenarios or origins has a header for each,
// that of the decision which ends last first.
const (
	HeaderScenario = "scenario"
	HeaderOrigin   = "origin"
	HeaderUntil    = "until"         // when the last decision of the key ends, RFC 3339
	HeaderWriter   = "sluice-writer" // the id of the store of decisions that the record was written from
	HeaderTerm     = "sluice-term"   // how often the topic has changed hands, from 1
)

// Standing is the value of a record of the decisions topic: all decisions that
// are in force on a scope and a value.
type Standing struct {
	Scope string `json:"scope"`
	Value string `json:"value"`
	// Decisions are in the order of their ends, the last to end first.
	Decisions []StandingDecision `json:"decisions"`
	// Omitted is how many decisions, those that end first, the record has no room for.
	Omitted int `json:"omitted,omitempty"`
}

// StandingDecision is a decision as the local API's bouncers see it, with its end.
type StandingDecision struct {
	ID       int64  `json:"id"`
	UUID     string `json:"uuid"`
	Origin   string `json:"origin"`
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Scenario string `json:"scenario"`
	// Until is when it ends; it never changes. Duration is what was left of it when the record was written.
	Until     time.Time `json:"until"`
	Duration  string    `json:"duration"`
	Simulated bool      `json:"simulated,omitempty"`
}

// standingOf lists a state's decisions.
func standingOf(s *decisions.State, now time.Time) *Standing {
	ds := slices.SortedFunc(slices.Values(s.Decisions), func(a, b decisions.Decision) int {
		return cmp.Or(b.Until.Compare(a.Until), cmp.Compare(a.ID, b.ID))
	})
	out := &Standing{Scope: s.Scope, Value: s.Value, Decisions: make([]StandingDecision, len(ds))}
	for i := range ds {
		d := &ds[i]
		out.Decisions[i] = StandingDecision{
			ID: d.ID, UUID: d.UUID.String(), Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario,
			Until: d.Until, Duration: d.Until.Sub(now).Truncate(time.Millisecond).String(), Simulated: d.Simulated,
		}
	}
	return out
}

// signature says who wrote a record.
type signature struct {
	Term   int64
	Writer string
}

// compare orders signatures: the later term is right, and of one term the greater id.
func (s signature) compare(o signature) int {
	return cmp.Or(cmp.Compare(s.Term, o.Term), strings.Compare(s.Writer, o.Writer))
}

func (s signature) headers() []kafka.Header {
	return []kafka.Header{
		{Key: HeaderWriter, Value: []byte(s.Writer)}, {Key: HeaderTerm, Value: strconv.AppendInt(nil, s.Term, 10)},
	}
}

// signatureOf reads a record's signature; one without is nobody's, of term 0.
func signatureOf(headers []kafka.Header) (s signature) {
	s.Writer, _ = header(headers, HeaderWriter)
	term, _ := header(headers, HeaderTerm)
	s.Term, _ = strconv.ParseInt(term, 10, 64) // what is no number is no term
	return s
}

// record returns a key's record, without what does not fit into limit bytes;
// false when not even one decision does.
func (s *Standing) record(by signature, limit int64) (r outRecord, fits bool, err error) {
	r.key = []byte(decisions.Key{Scope: s.Scope, Value: s.Value}.String())
	if len(s.Decisions) == 0 {
		r.headers = by.headers()
		return r, true, nil
	}
	for {
		if r.value, err = marshal(s); err != nil {
			return r, false, err
		}
		r.headers = append(s.headers(), by.headers()...)
		size, n := r.size(), len(s.Decisions)
		if size <= limit {
			return r, true, nil
		}
		if n == 1 {
			return r, false, nil
		}
		keep := max(1, min(n-1, int(int64(n)*limit/size)))
		s.Decisions, s.Omitted = s.Decisions[:keep], s.Omitted+n-keep
	}
}

// marshal writes JSON without escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (s *Standing) headers() (out []kafka.Header) {
	add := func(name, value string) {
		h := kafka.Header{Key: name, Value: []byte(value)}
		if !slices.ContainsFunc(out, func(o kafka.Header) bool { return o.Key == name && bytes.Equal(o.Value, h.Value) }) {
			out = append(out, h)
		}
	}
	for i := range s.Decisions {
		add(HeaderScenario, s.Decisions[i].Scenario)
	}
	for i := range s.Decisions {
		add(HeaderOrigin, s.Decisions[i].Origin)
	}
	add(HeaderUntil, s.Decisions[0].Until.Format(time.RFC3339))
	return out
}

// digest tells standings apart by everything but what was left of the
// decisions; 0 is that of no decisions. Seeds are one run's.
func (s *Standing) digest(seed maphash.Seed) uint64 {
	if s == nil || len(s.Decisions) == 0 {
		return 0
	}
	bare := *s
	bare.Decisions = slices.Clone(s.Decisions)
	for i := range bare.Decisions {
		bare.Decisions[i].Duration = ""
		bare.Decisions[i].Until = bare.Decisions[i].Until.UTC()
	}
	text, err := json.Marshal(&bare)
	if err != nil {
		return 1 // a standing of texts, numbers and times has JSON, and this one is rewritten
	}
	return max(2, maphash.Bytes(seed, text))
}

// readStanding reads a record's value; nil is what no sluice wrote.
func readStanding(value []byte) *Standing {
	var s Standing
	if err := json.Unmarshal(value, &s); err != nil || len(s.Decisions) == 0 {
		return nil
	}
	return &s
}

// keyOf returns what a record is about: as its value says, where it speaks of its own key.
func keyOf(f *found) decisions.Key {
	if s := readStanding(f.value); s != nil {
		if k := (decisions.Key{Scope: s.Scope, Value: s.Value}); k.String() == string(f.key) {
			return k
		}
	}
	scope, value, _ := strings.Cut(string(f.key), ":")
	return decisions.Key{Scope: scope, Value: value}
}
