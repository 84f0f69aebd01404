package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

func TestDeadLettersKeepTheRecordAndSayWhereItCameFrom(t *testing.T) {
	c := cluster(t, "dead")
	config := DefaultRaw()
	config.Brokers, config.Topic, config.MaxMessageBytes = c.ListenAddrs(), "dead", 2000
	d, err := NewDeadLetters(config, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	at := pipeline.Position{Partition: pipeline.Partition{Source: "k", Topic: "logs", ID: 3}, Offset: 42, Line: -1}
	whole := pipeline.DeadLetter{
		Kind: pipeline.DeadUndecodable, Reason: "json", Position: at, Time: time.Unix(1, 5),
		Key: []byte("key"), Value: []byte("\xff\x00"), Size: 2,
		Headers: []pipeline.Header{{Key: "own", Value: []byte("1")}, {Key: HeaderDeadOffset, Value: []byte("of another time")}},
	}
	line := whole
	line.Kind, line.Key, line.Headers, line.Time, line.Sink, line.Position.Line, line.Size = pipeline.DeadRejected, []byte("key"), nil, time.Time{}, "lapi", 0, 9
	large := whole
	large.Value = []byte(strings.Repeat("x", 3000))
	err = d.Write(t.Context(), []pipeline.DeadLetter{whole, large, line})
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || len(rejected.Alerts) != 1 || rejected.Alerts[0] != 1 {
		t.Errorf("got %v", err)
	}
	for i, r := range readBack(t, c, "dead", 2) {
		text := fmt.Sprintf("%s=%q", r.Key, r.Value)
		for _, h := range r.Headers {
			text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(h.Key, deadPrefix), h.Value)
		}
		want := []string{
			`key="\xff\x00" own=1 kind=undecodable reason=json source=k topic=logs partition=3 offset=42 time=1970-01-01T00:00:01.000000005Z`,
			`key="\xff\x00" kind=rejected reason=json source=k topic=logs partition=3 offset=42 line=0 size=9 sink=lapi`,
		}[i]
		if text != want {
			t.Errorf("record %d:\n got %s\nwant %s", i, text, want)
		}
	}
}
