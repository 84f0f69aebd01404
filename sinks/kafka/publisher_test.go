package kafka

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/pipeline/decisions"
	"sluice/sinks"
)

func headersOf(r *kgo.Record) (out []string) {
	for _, h := range r.Headers {
		out = append(out, h.Key+"="+string(h.Value))
	}
	return out
}

func TestAKeyHasARecordOfAllItsDecisionsAndATombstoneWithoutAny(t *testing.T) {
	c := compacted(t, 3)
	f := newFeed("w1")
	f.add(t, "192.0.2.1", "ban", "a/ssh", time.Hour)
	p := publish(t, c, f, f.clock, nil)
	r := newReader(t, c)
	r.until(t, "what was there before", f.inForce)

	f.add(t, "192.0.2.1", "captcha", "a/http", 2*time.Hour)
	f.add(t, "10.0.0.0/8", "ban", "manual", 90*time.Second)
	r.until(t, "additions", f.inForce)
	rec := r.last["Ip:192.0.2.1"]
	want := []string{"scenario=a/http", "scenario=a/ssh", "origin=crowdsec", "until=2026-03-01T14:00:00Z", "sluice-writer=w1", "sluice-term=1"}
	if got := headersOf(rec); !slices.Equal(got, want) {
		t.Errorf("headers %q, want %q", got, want)
	}
	if int(rec.Partition) != partitionOf("Ip:192.0.2.1") {
		t.Errorf("the record is in partition %d", rec.Partition)
	}
	var got Standing
	if err := json.Unmarshal(rec.Value, &got); err != nil {
		t.Fatal(err)
	}
	nobody := "00000000-0000-0000-0000-000000000000"
	if s := fmt.Sprint(got); s != fmt.Sprint(Standing{Scope: "Ip", Value: "192.0.2.1", Decisions: []StandingDecision{
		{2, nobody, "crowdsec", "captcha", "Ip", "192.0.2.1", "a/http", begin.Add(2 * time.Hour), "2h0m0s", false},
		{1, nobody, "crowdsec", "ban", "Ip", "192.0.2.1", "a/ssh", begin.Add(time.Hour), "1h0m0s", false},
	}}) {
		t.Errorf("value %s", rec.Value)
	}

	f.pass(30 * time.Minute) // the range ends
	r.until(t, "an expiry", f.inForce)
	if rec := r.last["Range:10.0.0.0/8"]; rec.Value != nil || !slices.Equal(headersOf(rec), []string{"sluice-writer=w1", "sluice-term=1"}) {
		t.Errorf("what ended has %q %q", rec.Value, headersOf(rec))
	}
	f.remove(decisions.Filter{Type: "captcha"})
	r.until(t, "a removal", f.inForce)
	if v := string(r.last["Ip:192.0.2.1"].Value); !strings.Contains(v, `"until":"2026-03-01T13:00:00Z","duration":"30m0s"`) {
		t.Errorf("the end has moved, or what is left has not: %s", v)
	}
	f.remove(decisions.Filter{})
	r.until(t, "the last removal", f.inForce)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if n := p.decisions.Load(); n != 3 {
		t.Errorf("%d decisions were told, want 3", n)
	}
}

func TestWhatIsWrittenIsNotWrittenAgainAfterARestart(t *testing.T) {
	c := compacted(t, 2)
	f := newFeed("w1")
	for i := range 50 {
		f.add(t, fmt.Sprintf("192.0.2.%d", i), "ban", "a/b", time.Hour)
	}
	p := publish(t, c, f, f.clock, nil)
	r := newReader(t, c)
	r.until(t, "50 keys", f.inForce)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	f.add(t, "192.0.2.200", "ban", "a/b", time.Hour)
	f.remove(decisions.Filter{Scope: "Ip", Value: "192.0.2.7"})
	publish(t, c, f, f.clock, nil)
	r.until(t, "what changed meanwhile", f.inForce)
	if r.n != 52 {
		t.Errorf("%d records, want 52", r.n)
	}
}

func TestATopicIsComparedAsAWholeWhenChangesAreForgotten(t *testing.T) {
	c := compacted(t, 2)
	f := newFeed("w1")
	for i := range 20 {
		f.add(t, fmt.Sprintf("192.0.2.%d", i), "ban", "a/b", time.Hour)
	}
	p := publish(t, c, f, f.clock, nil)
	r := newReader(t, c)
	r.until(t, "20 keys", f.inForce)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	f.remove(decisions.Filter{Scope: "Ip", Value: "192.0.2.7"})
	f.add(t, "192.0.2.8", "captcha", "a/b", 2*time.Hour)
	f.index.Forget(f.index.Seq())
	publish(t, c, f, f.clock, nil)
	r.until(t, "what changed meanwhile", f.inForce)
	if r.n != 22 {
		t.Errorf("%d records, want 22: what is right is not written again", r.n)
	}
}

func TestWhatEndedBeforeItWasWrittenIsCountedAndNotSent(t *testing.T) {
	c := compacted(t, 1)
	f := newFeed("w1")
	b := new(book)
	p := publish(t, c, f, f.clock, nil)
	r := newReader(t, c)
	f.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	r.until(t, "the first", f.inForce) // a topic that is stopped now has its place saved
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	f.add(t, "192.0.2.2", "ban", "a/b", time.Minute)
	f.add(t, "192.0.2.3", "ban", "a/b", time.Minute)
	f.add(t, "192.0.2.4", "ban", "a/b", time.Minute)
	f.remove(decisions.Filter{Scope: "Ip", Value: "192.0.2.4"})
	f.pass(30 * time.Minute)
	p = publish(t, c, f, f.clock, func(p *publisher) { p.log = b.logger() })
	f.add(t, "192.0.2.5", "ban", "a/b", time.Minute)
	r.until(t, "the last", f.inForce)
	eventually(t, "two are counted as expired", func() bool { return p.expired.Load() == 2 })
	for _, v := range []string{"192.0.2.2", "192.0.2.3"} {
		if rec := r.last["Ip:"+v]; rec != nil && rec.Value != nil {
			t.Errorf("%s was sent: %s", v, rec.Value)
		}
	}
}

func TestATopicOfAnotherWriterIsRefusedUntilItIsTakenOver(t *testing.T) {
	c := compacted(t, 2)
	theirs, ours := newFeed("w9"), newFeed("w1")
	theirs.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	theirs.add(t, "192.0.2.2", "ban", "a/b", time.Hour)
	ours.add(t, "192.0.2.2", "ban", "a/b", time.Hour)
	ours.add(t, "192.0.2.3", "ban", "a/b", time.Hour)
	first := publish(t, c, theirs, theirs.clock, nil)
	r := newReader(t, c)
	r.until(t, "theirs", theirs.inForce)

	second := publish(t, c, ours, ours.clock, nil)
	err := <-second.done
	if err == nil || !strings.Contains(err.Error(), `sink out: decisions_topic "decisions"`) || !strings.Contains(err.Error(), "the sluice with the store w9") ||
		!strings.Contains(err.Error(), "take_over: true") {
		t.Fatalf("the second says %v", err)
	}
	theirs.add(t, "192.0.2.4", "ban", "a/b", time.Hour)
	r.until(t, "theirs, after the refusal", theirs.inForce)

	b := new(book)
	third := publish(t, c, ours, ours.clock, func(p *publisher) { p.takeOver, p.log = true, b.logger() })
	err = <-first.done
	if err == nil || !strings.Contains(err.Error(), "the sluice with the store w1") {
		t.Fatalf("whoever had it says %v", err)
	}
	r.until(t, "ours", ours.inForce)
	if b.count("is taken over") != 1 {
		t.Error("the log does not say once that it was taken over")
	}
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}
	publish(t, c, ours, ours.clock, nil)
	ours.add(t, "192.0.2.5", "ban", "a/b", time.Hour)
	r.until(t, "ours, after a restart without take_over", ours.inForce)
	fourth := publish(t, c, theirs, theirs.clock, nil)
	if err := <-fourth.done; err == nil {
		t.Error("the first begins again although the topic was taken over")
	}
}

func TestRecordsThatNobodySignedAreRefusedAtFirstAndWrittenOverLater(t *testing.T) {
	c := compacted(t, 2)
	write(t, c, "Ip:192.0.2.9", `{"type":"ban"}`, nil)
	write(t, c, "no scope", "no JSON", nil)
	f := newFeed("w1")
	f.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	p := publish(t, c, f, f.clock, nil)
	if err := <-p.done; err == nil || !strings.Contains(err.Error(), "records without the header sluice-writer") {
		t.Fatalf("it says %v", err)
	}
	b := new(book)
	publish(t, c, f, f.clock, func(p *publisher) { p.takeOver, p.log = true, b.logger() })
	r := newReader(t, c)
	r.until(t, "what is in force", f.inForce)
	write(t, c, "Ip:192.0.2.1", "", nil)
	write(t, c, "Ip:192.0.2.8", `{"type":"ban"}`, nil)
	write(t, c, "Ip:192.0.2.7", `{"type":"ban"}`, &signature{1, "w0"})
	eventually(t, "the log tells of strangers once", func() bool { return b.count("records of others") == 1 })
	f.add(t, "192.0.2.2", "ban", "a/b", time.Hour)
	r.until(t, "what is in force, after others wrote", f.inForce)
}

func TestAnOldRecordThatComesLateIsPutRight(t *testing.T) {
	c := compacted(t, 1)
	f := newFeed("w1")
	f.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	p := publish(t, c, f, f.clock, nil)
	r := newReader(t, c)
	r.until(t, "the first state", f.inForce)
	late := string(r.last["Ip:192.0.2.1"].Value)
	f.remove(decisions.Filter{})
	r.until(t, "nothing", f.inForce)
	write(t, c, "Ip:192.0.2.1", late, &signature{1, "w1"}) // as a request does that was given up and not lost
	r.records(t, 4)
	r.until(t, "nothing, at last", f.inForce)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatDoesNotFitIsLeftOutByItsEnd(t *testing.T) {
	c := compacted(t, 1)
	f := newFeed("w1")
	for i := range 100 {
		f.add(t, "192.0.2.1", "ban", fmt.Sprintf("a/scenario-%03d", i), time.Duration(i+1)*time.Minute)
	}
	publish(t, c, f, f.clock, func(p *publisher) { p.maxRecord, p.topic.maxBytes = 4000, 4000 })
	r := newReader(t, c)
	r.records(t, 1)
	rec := r.last["Ip:192.0.2.1"]
	s := readStanding(rec.Value)
	if n := len(s.Decisions); len(rec.Value) > 4000 || n < 5 || s.Omitted != 100-n || s.Decisions[0].Scenario != "a/scenario-099" || s.Decisions[n-1].Scenario != fmt.Sprintf("a/scenario-%03d", 100-n) {
		t.Errorf("%d bytes, %d decisions, %d left out", len(rec.Value), n, s.Omitted)
	}
}

func TestATopicThatIsNotThereIsWaitedFor(t *testing.T) {
	c := cluster(t, "alerts")
	f := newFeed("w1")
	f.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	b := new(book)
	p := publish(t, c, f, f.clock, func(p *publisher) { p.log = b.logger() })
	eventually(t, "it has tried several times", func() bool { return p.errors.Load() > 3 })
	if b.count("the topic does not exist; create it, with cleanup.policy=compact") != 1 {
		t.Errorf("the log says %s", b.all.String())
	}
	create(t, c, 2, "delete")
	newReader(t, c).until(t, "what is in force", f.inForce)
	eventually(t, "the log says that it is well", func() bool { return b.count("are written to their topic again") == 1 })
	if b.count("is not compacted") != 1 {
		t.Errorf("the log says %s", b.all.String())
	}
}

func TestATopicWhoseKeysAreElsewhereIsRefused(t *testing.T) {
	c := compacted(t, 2)
	f := newFeed("w1")
	f.add(t, "192.0.2.1", "ban", "a/b", time.Hour)
	const key = "Ip:192.0.2.1"
	wrong := 1 - place([]byte(key), []int{0, 1}) // as when the topic had another number of partitions
	writeTo(t, c, wrong, key, `{"decisions":[{"id":1}]}`, &signature{1, "w1"})
	p := publish(t, c, f, f.clock, nil)
	if err := <-p.done; err == nil || !strings.Contains(err.Error(), "is not in the partition that its key belongs to") {
		t.Errorf("it says %v", err)
	}
	writeTo(t, c, wrong, key, "", &signature{1, "w1"})
	publish(t, c, f, f.clock, nil)
	newReader(t, c).until(t, "what is in force, once that is gone", f.inForce)
}

func TestDecisionsComeFromTheSinkThatIsNamed(t *testing.T) {
	one, two := newFeed("1"), newFeed("2")
	one.name, two.name = "one", "two"
	for _, c := range []struct {
		name  string
		of    string
		feeds []sinks.DecisionFeed
		want  string // of the error, or the feed's id
	}{
		{"there is none", "", nil, "{type: local_api, listen: []}"},
		{"there is one", "", []sinks.DecisionFeed{one}, "1"},
		{"there are two", "", []sinks.DecisionFeed{one, two}, "set decisions_of to one of one, two"},
		{"it is named", "two", []sinks.DecisionFeed{one, two}, "2"},
		{"its name is wrong", "three", []sinks.DecisionFeed{one, two}, `no sink of type local_api is called "three"; there is one, two`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Default()
			config.Brokers, config.DecisionsTopic, config.DecisionsOf = []string{"127.0.0.1:1"}, "decisions", c.of
			s, err := New("out", config, sinks.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := ""
			if err := s.Follow(c.feeds); err != nil {
				got = err.Error()
			} else if got, err = s.publisher.feed.ID(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
