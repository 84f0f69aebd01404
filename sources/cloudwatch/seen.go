package cloudwatch

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// eventID stands for an event: half of the SHA-256 of CloudWatch's id, which is
// 56 digits long. Two events with one are not to be met in this world.
type eventID [16]byte

func idOf(e *types.FilteredLogEvent) eventID {
	text := aws.ToString(e.EventId)
	if text == "" {
		text = fmt.Sprintf("%s\x00%d\x00%d\x00%s", aws.ToString(e.LogStreamName), aws.ToInt64(e.Timestamp), aws.ToInt64(e.IngestionTime), aws.ToString(e.Message))
	}
	sum := sha256.Sum256([]byte(text))
	return eventID(sum[:])
}

// seen holds the ids of a group's events that were read and may be met again.
// They come and go in chunks: one for the events of each entry of the intake,
// so that it is one mark, which is written once and forgotten once.
type seen struct {
	ids    map[eventID]struct{}
	chunks []chunk
	next   int // number of the next chunk
}

type chunk struct {
	number int
	newest int64 // time of its newest event, in milliseconds
	ids    []eventID
}

func newSeen() *seen { return &seen{ids: make(map[eventID]struct{})} }

func (s *seen) has(id eventID) bool {
	_, ok := s.ids[id]
	return ok
}

// add remembers a chunk.
func (s *seen) add(c chunk) {
	for _, id := range c.ids {
		s.ids[id] = struct{}{}
	}
	s.chunks = append(s.chunks, c)
	s.next = max(s.next, c.number+1)
}

// forget drops the chunks with no event from a time on, and calls each with
// their numbers.
func (s *seen) forget(from int64, each func(number int)) {
	kept := s.chunks[:0]
	for _, c := range s.chunks {
		if c.newest >= from {
			kept = append(kept, c)
			continue
		}
		for _, id := range c.ids {
			delete(s.ids, id)
		}
		each(c.number)
	}
	clear(s.chunks[len(kept):]) // so that their ids can be freed
	s.chunks = kept
}

// shorten returns the earliest time to go on from so that no more than limit
// ids need be remembered. Chunks are about as old as they are numbered low.
func (s *seen) shorten(from int64, limit int) int64 {
	over := len(s.ids) - limit
	for i := 0; over > 0 && i < len(s.chunks); i++ {
		over -= len(s.chunks[i].ids)
		from = max(from, s.chunks[i].newest+1)
	}
	return from
}

// String encodes a chunk as a mark: "newest ids".
func (c chunk) String() string {
	raw := make([]byte, 0, len(c.ids)*len(eventID{}))
	for _, id := range c.ids {
		raw = append(raw, id[:]...)
	}
	return strconv.FormatInt(c.newest, 10) + " " + base64.RawStdEncoding.EncodeToString(raw)
}

// parseChunk reads what String wrote.
func parseChunk(number int, text string) (chunk, error) {
	c := chunk{number: number}
	newest, ids, ok := strings.Cut(text, " ")
	raw, err := base64.RawStdEncoding.DecodeString(ids)
	if err == nil {
		c.newest, err = strconv.ParseInt(newest, 10, 64)
	}
	if !ok || err != nil || len(raw)%len(eventID{}) != 0 {
		return c, fmt.Errorf("cloudwatch: the journal holds %.40q for events that were read, which this version does not understand", text)
	}
	for ; len(raw) > 0; raw = raw[len(eventID{}):] {
		c.ids = append(c.ids, eventID(raw[:len(eventID{})]))
	}
	return c, nil
}
