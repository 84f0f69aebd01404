//go:build integration

package decisionstopic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/rig"
)

// kafka is set once, by TestMain.
var kafka *kafkatest.Kafka

func TestMain(m *testing.M) {
	os.Exit(kafkatest.Main(os.Stdout, func(k *kafkatest.Kafka) int {
		kafka = k
		return rig.Main(m)
	}))
}

const (
	topic      = "decisions"
	partitions = 3
)

// broker is a Kafka whose topic of decisions is compacted whenever it has something to be compacted.
type broker struct {
	*kafkatest.Cluster
	admin *kafkatest.Admin
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	c, admin := kafka.StartFor(t, kafkatest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), kafkatest.Starting)
	defer cancel()
	if err := admin.CreateTopic(ctx, topic, partitions, map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "1",
	}); err != nil {
		t.Fatal(err)
	}
	return &broker{c, admin}
}

// instance is a sluice that keeps decisions and their topic, with a file of
// lines that make an alert and a decision each.
type instance struct {
	*rig.Instance
	b     *broker
	lines string
	n     int
}

func (b *broker) sluice(t *testing.T, name string) *instance {
	t.Helper()
	in := &instance{b: b, lines: filepath.Join(t.TempDir(), "lines")}
	in.Instance = rig.New(t, name, in.config(nil))
	in.write(t, 0)
	return in
}

func (in *instance) config(sink map[string]any) rig.Config {
	c := rig.Probing(map[string]any{"type": "file", "paths": []string{in.lines}, "follow": true, "start": "beginning", "poll_interval": "50ms"})
	c["profiles"] = []any{map[string]any{
		"name": "all", "filters": []string{"true"}, "decisions": []any{map[string]any{"type": "captcha", "duration": "20m"}},
	}}
	k := map[string]any{"type": "kafka", "brokers": in.b.Brokers(), "decisions_topic": topic}
	for key, value := range sink {
		k[key] = value
	}
	c["sinks"] = []any{map[string]any{"type": "local_api", "listen": []string{}}, k}
	return c
}

// up starts it and waits until it answers commands: before, a command would
// open the folder of decisions itself, and keep sluice out.
func (in *instance) up(t *testing.T) {
	t.Helper()
	in.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path := filepath.Join(in.State(), "sinks", "local_api", "admin.sock")
	if err := rig.Poll(ctx, "sluice to answer commands", func() (bool, error) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return false, in.Ended()
		}
		return true, conn.Close()
	}); err != nil {
		t.Fatal(err)
	}
}

// write appends lines that make n alerts.
func (in *instance) write(t *testing.T, n int) {
	t.Helper()
	f, err := os.OpenFile(in.lines, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range n {
		in.n++
		if _, err := fmt.Fprintln(f, rig.Line(in.n)); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs a command of the binary on the instance's configuration, whether or not it runs.
func (in *instance) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, os.Getenv("SLUICE_RIG_BINARY"), append(args, "-c", in.ConfigFile())...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}

func (in *instance) do(t *testing.T, args ...string) {
	t.Helper()
	if _, err := in.command(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// decision is what both sides say of a decision.
type decision struct {
	Type, Origin, Scope, Value, Scenario string
	Until                                time.Time
}

func (d *decision) line() string {
	return fmt.Sprintf("%s:%s %s %s %q %s", d.Scope, d.Value, d.Type, d.Origin, d.Scenario, d.Until.UTC().Format(time.RFC3339))
}

// listed returns what `sluice decisions list` says, sorted.
func (in *instance) listed(ctx context.Context) ([]string, error) {
	text, err := in.command(ctx, "decisions", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var all []decision
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%w in %s", err, text)
	}
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].line()
	}
	slices.Sort(out)
	return out, nil
}

// view is what a consumer has that read the topic from its start.
type view struct {
	decisions []string // sorted
	records   int
	wrong     []string
	// slowest is how long after its end the last decision of a key had its tombstone, of those that ended.
	slowest time.Duration
}

// read reads the topic from the start of each partition to its end.
func (b *broker) read(ctx context.Context) (*view, error) {
	ends, err := b.admin.Offsets(ctx, topic, partitions, kafkatest.Latest)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]kgo.Offset)
	for p, end := range ends {
		if end > 0 {
			from[p] = kgo.NewOffset().AtStart()
		}
	}
	if len(from) == 0 {
		return &view{}, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	v, keys := &view{}, make(map[string]*kgo.Record)
	for len(from) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			v.add(keys, r)
			if r.Offset >= ends[r.Partition]-1 {
				delete(from, r.Partition)
			}
		})
	}
	for key, r := range keys {
		v.decide(key, r)
	}
	slices.Sort(v.decisions)
	return v, nil
}

func (v *view) add(keys map[string]*kgo.Record, r *kgo.Record) {
	v.records++
	key := string(r.Key)
	if r.Value != nil {
		keys[key] = r
		return
	}
	if last := keys[key]; last != nil {
		if until, err := time.Parse(time.RFC3339, header(last, "until")); err == nil && !r.Timestamp.Before(until) {
			v.slowest = max(v.slowest, r.Timestamp.Sub(until))
		}
	}
	delete(keys, key)
}

// decide adds the decisions of a record, and says what is wrong with it.
func (v *view) decide(key string, r *kgo.Record) {
	var value struct {
		Scope, Value string
		Decisions    []decision
	}
	if err := json.Unmarshal(r.Value, &value); err != nil || value.Scope+":"+value.Value != key || len(value.Decisions) == 0 {
		v.wrong = append(v.wrong, fmt.Sprintf("%s has %s (%v)", key, r.Value, err))
		return
	}
	first := value.Decisions[0]
	if header(r, "scenario") != first.Scenario || header(r, "origin") != first.Origin || header(r, "until") != first.Until.Format(time.RFC3339) {
		v.wrong = append(v.wrong, fmt.Sprintf("%s has the headers %v", key, r.Headers))
	}
	for i := range value.Decisions {
		v.decisions = append(v.decisions, value.Decisions[i].line())
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// equal waits until the topic, read from its start, is what is listed.
func (in *instance) equal(t *testing.T, what string) *view {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v, list := &view{}, []string(nil)
	err := rig.Poll(ctx, what+": the topic to be what is listed", func() (ok bool, err error) {
		if list, err = in.listed(ctx); err != nil {
			return false, err
		}
		got, err := in.b.read(ctx)
		if err != nil {
			return false, err
		}
		v = got
		return slices.Equal(list, v.decisions), in.Ended()
	})
	if err != nil {
		t.Fatalf("%v\nlisted\n%s\nin the topic\n%s", err, strings.Join(list, "\n"), strings.Join(v.decisions, "\n"))
	}
	if len(v.wrong) > 0 {
		t.Fatalf("%s: %q", what, v.wrong)
	}
	t.Logf("%s: %d decisions, %d records, tombstones at most %v after the end", what, len(v.decisions), v.records, v.slowest.Round(time.Millisecond))
	return v
}

// change makes some changes by the command line.
func (in *instance) change(t *testing.T, rng *rand.Rand) {
	t.Helper()
	address := func() string { return fmt.Sprintf("192.0.2.%d", rng.IntN(20)) }
	switch rng.IntN(6) {
	case 0, 1:
		in.do(t, "decisions", "add", "--ip", address(), "--duration", fmt.Sprint(1+rng.IntN(4), "s"), "--reason", "short")
	case 2:
		in.do(t, "decisions", "add", "--ip", address(), "--duration", "1h", "--type", "captcha", "--reason", "long, \"and\" odd")
	case 3:
		in.do(t, "decisions", "add", "--range", fmt.Sprintf("2001:db8:%x::/48", rng.IntN(8)), "--duration", "30m")
	case 4:
		in.do(t, "decisions", "delete", "--ip", address())
	case 5:
		var list bytes.Buffer
		for range 50 {
			fmt.Fprintf(&list, "198.51.100.%d\n", rng.IntN(200))
		}
		file := filepath.Join(in.Dir, "list-"+strconv.Itoa(rng.Int()))
		if err := os.WriteFile(file, list.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		in.do(t, "decisions", "import", file, "--duration", fmt.Sprint(2+rng.IntN(60), "s"))
	}
}

// TestTheTopicIsWhatIsListed changes decisions in all ways, kills sluice in
// between, forces compaction, and compares.
func TestTheTopicIsWhatIsListed(t *testing.T) {
	rng := rand.New(rand.NewPCG(rig.Seed(t), 14))
	b := startBroker(t)
	in := b.sluice(t, "one")
	in.up(t)
	kills := 6
	if rig.Soak() {
		kills = 100
	}
	for round := range kills {
		for range 4 {
			in.write(t, rng.IntN(30))
			in.change(t, rng)
		}
		if rng.IntN(3) == 0 {
			if err := rig.Pause(t.Context(), time.Duration(rng.IntN(400))*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		in.Kill(t)
		if rng.IntN(2) == 0 {
			in.change(t, rng) // while nobody runs
		}
		in.up(t)
		if round%3 == 2 {
			in.WaitFor(t, "the state is loaded")
			in.equal(t, fmt.Sprint(round+1, " kills"))
		}
	}
	in.write(t, 20)
	in.WaitFor(t, "the state is loaded")
	before := in.equal(t, "before compaction")

	// A new segment closes the one before, which the cleaner then works on.
	in.do(t, "decisions", "delete", "--type", "captcha")
	in.equal(t, "after a removal of many")
	if err := rig.Pause(t.Context(), 1100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	in.write(t, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "compaction", func() (bool, error) {
		v, err := b.read(ctx)
		return err == nil && v.records < before.records*2/3, err
	}); err != nil {
		t.Fatal(err)
	}
	in.equal(t, "after compaction")
	in.Kill(t)
	in.do(t, "decisions", "delete", "--all")
	in.do(t, "decisions", "add", "--ip", "203.0.113.9", "--duration", "1h")
	in.up(t)
	if v := in.equal(t, "when nearly all is gone"); len(v.decisions) != 1 {
		t.Errorf("there are %q", v.decisions)
	}
	if n := in.Said("compared with what is in force"); n > 2 {
		t.Errorf("the whole topic was read %d times; once is needed", n)
	}
	in.Stop(t)
}

// TestKafkaMayGoAwayAndComeBack changes decisions while there is no broker.
func TestKafkaMayGoAwayAndComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(rig.Seed(t), 15))
	b := startBroker(t)
	in := b.sluice(t, "one")
	in.up(t)
	in.write(t, 50)
	in.do(t, "decisions", "add", "--ip", "192.0.2.1", "--duration", "4s")
	in.do(t, "decisions", "add", "--ip", "192.0.2.2", "--duration", "1h")
	in.WaitFor(t, "the state is loaded")
	in.equal(t, "before")
	for n := range 2 {
		if err := b.Kill(1); err != nil {
			t.Fatal(err)
		}
		in.do(t, "decisions", "delete", "--ip", "192.0.2.2")
		in.do(t, "decisions", "add", "--ip", "192.0.2.3", "--duration", "1s", "--reason", "ends while nobody takes it")
		for range 6 {
			in.change(t, rng)
			in.write(t, 10)
		}
		if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			in.Kill(t)
			in.up(t) // it begins without a broker, too
			in.do(t, "decisions", "add", "--ip", "192.0.2.4", "--duration", "1h")
		}
		ctx, cancel := context.WithTimeout(t.Context(), kafkatest.Starting)
		if err := b.Restart(ctx, 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		in.equal(t, fmt.Sprint("after outage ", n+1))
	}
	if n := in.Said("decisions are not written to their topic"); n < 1 || n > 3 {
		t.Errorf("the log says %d times that the topic is not written, want once an outage and once at the start", n)
	}
	in.Stop(t)
}

// TestOneSluiceWritesATopic refuses a second one, and lets it take over when it is told to.
func TestOneSluiceWritesATopic(t *testing.T) {
	b := startBroker(t)
	one, two := b.sluice(t, "one"), b.sluice(t, "two")
	one.up(t)
	one.write(t, 30)
	one.do(t, "decisions", "add", "--ip", "192.0.2.1")
	one.equal(t, "of the first")

	two.MayEnd()
	two.do(t, "decisions", "add", "--ip", "192.0.2.2")
	two.Start(t)
	two.MayEnd()
	<-two.Process().Done()
	if text := two.LastRun(); !strings.Contains(text, "another writer has it") || !strings.Contains(text, "start once with take_over: true") {
		t.Fatalf("the second says\n%s", text)
	}
	one.do(t, "decisions", "add", "--ip", "192.0.2.3")
	one.equal(t, "of the first, after the second was refused")

	one.MayEnd()
	two.Configure(t, two.config(map[string]any{"take_over": true}))
	two.up(t)
	two.WaitFor(t, "is taken over")
	<-one.Process().Done()
	if text := one.LastRun(); !strings.Contains(text, "another writer has it") {
		t.Fatalf("the first says\n%s", text)
	}
	two.equal(t, "of the second")
	two.Kill(t)
	two.Configure(t, two.config(nil))
	two.up(t)
	two.do(t, "decisions", "add", "--ip", "192.0.2.4")
	two.equal(t, "of the second, without take_over")
	two.Stop(t)
}

// TestAListOfManyIsThereSoon imports many at once; the log has the figures.
func TestAListOfManyIsThereSoon(t *testing.T) {
	b := startBroker(t)
	in := b.sluice(t, "one")
	in.up(t)
	in.WaitFor(t, "the state is loaded")
	const n = 50_000
	var list bytes.Buffer
	for i := range n {
		fmt.Fprintf(&list, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	file := filepath.Join(in.Dir, "many")
	if err := os.WriteFile(file, list.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	in.do(t, "decisions", "import", file, "--duration", "1h")
	imported := time.Now()
	if v := in.equal(t, "all of them"); len(v.decisions) != n {
		t.Errorf("there are %d", len(v.decisions))
	}
	t.Logf("%d were imported in %v, and read back from the topic %v later", n, imported.Sub(began).Round(time.Millisecond), time.Since(imported).Round(time.Millisecond))
	in.do(t, "decisions", "delete", "--all")
	if v := in.equal(t, "none of them"); len(v.decisions) != 0 {
		t.Errorf("there are %d", len(v.decisions))
	}
	in.Stop(t)
}
