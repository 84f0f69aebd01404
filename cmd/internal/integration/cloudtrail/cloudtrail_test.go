//go:build integration

package cloudtrail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/mototest"
	"sluice/cmd/internal/integration/rig"
)

// TestEveryEntryIsPouredOnceOverSQS announces a thousand files over SQS: a part of them by S3 itself, the
// others in all shapes and by several in a message, and many twice. It kills sluice twice among them.
func TestEveryEntryIsPouredOnceOverSQS(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	objects, entries := files(1000)
	keys := slices.Sorted(maps.Keys(objects))
	first := make(map[string][]byte) // announced by S3 itself; moto takes its time for each
	for _, key := range keys[:100] {
		first[key] = objects[key]
	}
	rest := maps.Clone(objects)
	maps.DeleteFunc(rest, func(key string, _ []byte) bool { return first[key] != nil })
	c.put(rest)
	c.notify()
	c.put(first)
	var messages []string
	for i := 80; i < len(keys); i += 9 { // twenty of the first once more
		messages = append(messages, announcement(i, keys[i:min(i+10, len(keys))]...)) // and one of ten
	}
	for _, key := range keys[200:220] {
		messages = append(messages, announcement(2, key))
	}
	c.send(messages...)
	if visible, _ := c.left(); visible != 1+len(first)+len(messages) { // with S3's test
		t.Fatalf("the queue has %d messages", visible)
	}
	in := rig.New(t, "one", rig.Probing(c.source(c.Address, nil)))
	in.Start(t)
	for _, n := range []int{entries / 4, entries / 2} {
		in.Drained(t, n)
		in.Kill(t)
		in.Start(t)
	}
	in.Drained(t, entries)
	until(t, "the queue to be empty", func() bool {
		visible, hidden := c.left()
		return visible+hidden == 0
	})
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, entries)
	t.Logf("%d objects in %d messages, %d entries, 2 kills: each entry was poured once", len(objects), len(first)+len(messages), entries)
}

// rules are the hub's for CloudTrail, and those that come with Sluice.
func rules(t *testing.T) map[string]map[string]any {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{
		"sluice's rules": {"roots": []string{filepath.Join(root, "configs", "rules")}, "collections": []string{"sluice/aws"}, "strict": true},
	}
	hub, ok := rig.Hub(root)
	if !ok {
		t.Log("skipped 1 part: no hub (set SLUICE_HUB to a clone of it)")
		return out
	}
	out["the hub's rules"] = map[string]any{
		"roots":       []string{hub},
		"parsers":     []string{"crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich"},
		"collections": []string{"crowdsecurity/aws-cis-benchmark", "crowdsecurity/aws-console", "crowdsecurity/aws-postexploit"},
	}
	return out
}

// TestAlertsOfAListingAreThoseOfAnUndisturbedRun lists the bucket, once in peace and once
// with two kills.
func TestAlertsOfAListingAreThoseOfAnUndisturbedRun(t *testing.T) {
	c := newCloud(t)
	objects, entries := files(999)
	key, text := file(999, entries, 1) // the trail is turned off
	objects[key], entries = text, entries+1
	c.put(objects)
	for name, set := range rules(t) {
		t.Run(name, func(t *testing.T) {
			config := rig.Config{"rules": set, "sources": []any{c.Source("cloudtrail", c.Address, map[string]any{
				"bucket": bucket, "path_style": true, "poll_interval": "1s", "downloads": 4,
			})}}
			calm := rig.New(t, "calm", config)
			calm.Start(t)
			until(t, "the last alert of a calm run", func() bool { return last(t, calm) })
			calm.Stop(t)
			want := ids(t, calm)
			in := rig.New(t, "killed", config)
			in.Start(t)
			for _, part := range []int{4, 2} {
				until(t, "some of the alerts", func() bool { return len(ids(t, in)) >= len(want)/part })
				in.Kill(t)
				t.Logf("killed behind %d of %d alerts", len(ids(t, in)), len(want))
				in.Start(t)
			}
			until(t, "the last alert of a run with kills", func() bool { return last(t, in) })
			in.Stop(t)
			got := ids(t, in)
			if !maps.Equal(got, want) {
				t.Errorf("%d alerts, and %d of an undisturbed run", len(got), len(want))
			}
			t.Logf("%d entries of %d objects, %d alerts of %d scenarios, the same with 2 kills", entries, len(objects), len(want), len(scenarios(want)))
		})
	}
}

// ids returns the ids of all alerts that have come out, with their scenarios.
func ids(t *testing.T, in *rig.Instance) map[string]string {
	t.Helper()
	text, err := os.ReadFile(in.AlertsFile())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for line := range bytes.Lines(text) {
		var a struct{ UUID, Scenario string }
		if bytes.HasSuffix(line, []byte("\n")) {
			if err := json.Unmarshal(line, &a); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			out[a.UUID] = a.Scenario
		}
	}
	return out
}

func scenarios(alerts map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(alerts)))
}

// last tells whether the alert of the last file has come out, which all others come before.
func last(t *testing.T, in *rig.Instance) bool {
	t.Helper()
	if err := in.Ended(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(in.AlertsFile())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte(closing))
}

// TestMessagesStayHiddenUntilACheckpoint reads objects whose checkpoint comes
// after their messages would have come again: with the end.
func TestMessagesStayHiddenUntilACheckpoint(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	objects, _ := files(30)
	c.put(objects)
	for key := range objects {
		c.send(announcement(0, key))
	}
	config := rig.Probing(c.source(c.Address, nil))
	config["rules"] = map[string]any{"roots": config["rules"].(map[string]any)["roots"], "parsers": []string{"test/counted"}, "scenarios": []string{"test/every-five"}}
	in := rig.New(t, "slow", config)
	config["state"] = map[string]any{"dir": in.State(), "interval": "1h"}
	in.Configure(t, config)
	in.Start(t)
	until(t, "the messages to be received", func() bool {
		_, hidden := c.left()
		return hidden == len(objects)
	})
	end := time.Now().Add(15 * time.Second)
	for time.Now().Before(end) {
		if visible, hidden := c.left(); visible > 0 || hidden != len(objects) {
			t.Fatalf("%d messages have become visible, %d are hidden", visible, hidden)
		}
		if err := rig.Pause(t.Context(), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	in.Stop(t) // with a checkpoint
	if visible, hidden := c.left(); visible+hidden > 0 {
		t.Errorf("%d messages are visible and %d hidden after the checkpoint", visible, hidden)
	}
}

// TestWhatCannotBeReadGoesToTheDeadLetters announces objects that are damaged or not there among good ones.
func TestWhatCannotBeReadGoesToTheDeadLetters(t *testing.T) {
	c := newCloud(t)
	objects, entries := files(20)
	damaged := zipped(`{"Records":[{"userAgent":"` + rig.Line(entries) + `"},{"userAgent":"` + rig.Line(entries+1) + `"}]}`)
	objects["damaged.json.gz"] = damaged[:len(damaged)-8]
	objects["text.json.gz"] = zipped("no JSON")
	c.put(objects)
	for key := range objects {
		c.send(announcement(0, key))
	}
	c.send(announcement(0, "missing.json.gz"), "hello")
	config := rig.Probing(c.source(c.Address, nil))
	in := rig.New(t, "one", config)
	place := filepath.Join(in.Dir, "dead.json")
	config["dead_letters"] = map[string]any{"file": map[string]any{"path": place}}
	in.Configure(t, config)
	in.Start(t)
	in.Drained(t, entries+2)
	until(t, "the queue to be empty", func() bool {
		visible, hidden := c.left()
		return visible+hidden == 0
	})
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, entries+2)
	dead, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the object cannot be unpacked", "the object is not of its format", "the object is gone", "a message of the queue names no object"} {
		if n := strings.Count(string(dead), want); n != 1 {
			t.Errorf("%d dead letters say %q", n, want)
		}
	}
	if n := bytes.Count(dead, []byte("\n")); n != 4 {
		t.Errorf("%d dead letters:\n%s", n, dead)
	}
}

// TestAnOutageLosesNothing takes AWS away in the middle.
func TestAnOutageLosesNothing(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	objects, entries := files(300)
	proxy := mototest.NewProxy(t, c.Address)
	in := rig.New(t, "one", rig.Probing(c.source(proxy.Address, map[string]any{"max_attempts": 1})))
	c.put(objects)
	keys := slices.Sorted(maps.Keys(objects))
	for i := 0; i < len(keys); i += 5 {
		c.send(announcement(i, keys[i:min(i+5, len(keys))]...))
	}
	in.Start(t)
	in.Drained(t, entries/4)
	proxy.Down()
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	proxy.Up()
	in.Drained(t, entries)
	in.WaitFor(t, "reading goes on")
	until(t, "the queue to be empty", func() bool {
		visible, hidden := c.left()
		return visible+hidden == 0
	})
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, entries)
	if down, up := in.Said("reading is interrupted"), in.Said("reading goes on"); down != 1 || up != 1 {
		t.Errorf("an outage of %v is said %d times, and its end %d times", rig.Outage(), down, up)
	}
}

// TestARoleIsTakenOn looks at whose requests reach AWS.
func TestARoleIsTakenOn(t *testing.T) {
	c := newCloud(t)
	objects, entries := files(10)
	c.put(objects)
	for key := range objects {
		c.send(announcement(1, key))
	}
	var mu sync.Mutex
	signers := make(map[string]int)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.Address})
	transport := &http.Transport{}
	proxy.Transport = transport
	defer transport.CloseIdleConnections()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		signer, rest, _ := strings.Cut(credential, "/")
		scope := strings.Split(rest, "/")
		mu.Lock()
		if len(scope) > 2 {
			signers[fmt.Sprintf("%s by %.4s, token: %v", scope[2], signer, r.Header.Get("X-Amz-Security-Token") != "")]++
		}
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	in := rig.New(t, "one", rig.Probing(c.source(strings.TrimPrefix(front.URL, "http://"), map[string]any{
		"assume_role": map[string]any{"arn": "arn:aws:iam::123456789012:role/reader", "external_id": "secret", "endpoint": front.URL},
	})))
	in.Start(t)
	in.Drained(t, entries)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, entries)
	mu.Lock()
	defer mu.Unlock()
	if signers["sts by moto, token: false"] != 1 || signers["sqs by ASIA, token: true"] == 0 || signers["s3 by ASIA, token: true"] != len(objects) || len(signers) != 3 {
		t.Errorf("requests were signed so: %v", signers)
	}
}
