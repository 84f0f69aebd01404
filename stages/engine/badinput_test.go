package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// attack is six failed log-ins of one address within a minute, as records of
// the envelope {"message": …}; they begin at an offset.
func attack(offset int64, ip string, at time.Time) []pipeline.Record {
	var out []pipeline.Record
	for i := range 6 {
		t := at.Add(time.Duration(i) * time.Second)
		line := fmt.Sprintf("%s gate sshd[7]: Failed password for root from %s port 4000 ssh2", t.Format(time.RFC3339), ip)
		out = append(out, pipeline.Record{Value: fmt.Appendf(nil, `{"message":%q}`, line), Offset: offset + int64(i), Time: t})
	}
	return out
}

// ran is what came of records.
type ran struct {
	alerts []string // scenario and source of each
	stats  pipeline.BatchStats
	clock  time.Time
	dead   []pipeline.DeadLetter
}

// feed runs records through the starter rules, each record in a batch of its own.
func feed(t *testing.T, eng *engine.Engine, records []pipeline.Record) ran {
	t.Helper()
	var out ran
	decoding := decode.Default()
	decoding.Format, decoding.Message, decoding.Type = decode.FormatJSON, "message", "syslog"
	g, err := eng.Graph(engine.GraphOptions{
		Workers: 2, Shards: 2, Poison: true, Decode: map[string]decode.Config{"test": decoding},
		Lost: func(err error) { t.Error(err) },
		Dead: engine.DeadOptions{Undecodable: true, Unparsed: true, Bytes: 64},
		Deliver: func(_ context.Context, o *pipeline.Outcome) error {
			for _, ra := range o.Alerts {
				out.alerts = append(out.alerts, ra.Alert.Scenario+" "+ra.Alert.GetValue())
			}
			out.stats.Add(&o.Stats)
			out.dead = append(out.dead, o.Dead...)
			if o.Clock.After(out.clock) {
				out.clock = o.Clock
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	eg, ctx := errgroup.WithContext(t.Context())
	eg.Go(func() error { return g.Run(ctx) })
	eg.Go(func() error {
		defer g.Close()
		for _, r := range records {
			b := &pipeline.RecordBatch{
				Partition: pipeline.Partition{Source: "test", Topic: "logs"}, Module: "kafka", HighWatermark: -1,
				Records: []pipeline.Record{r},
			}
			if err := g.Emit(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBadRecordsStopNothingElse puts a record that is no log between those of
// an attack: the alert comes all the same, and the record is counted by reason.
func TestBadRecordsStopNothingElse(t *testing.T) {
	eng := starter(t, "sluice/linux")
	start := time.Date(2024, time.March, 3, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		record string
		reason string // "" for a record that decodes
	}{
		{"an envelope that is cut short", `{"message":"Failed pass`, "json_truncated"},
		{"nothing but an opening brace", `{`, "json_truncated"},
		{"JSON nested a million deep", strings.Repeat(`{"a":`, 1_000_000), "json_too_deep"},
		{"arrays nested a million deep", `{"a":` + strings.Repeat("[", 1_000_000), "json_too_deep"},
		{"an envelope without the message", `{"note":"x"}`, "no_message"},
		{"bytes that are no text", "\xff\xfe\x00\x01", "json_invalid"},
		{"an empty record", "", ""},
		{"NULs in the message", `{"message":"\u0000\u0000 gate sshd[7]: \u0000"}`, ""},
		{"bytes that are no UTF-8 in the message", "{\"message\":\"gate \xff\xc3( sshd[7]: x\"}", ""},
		{"a message of 10 MiB", `{"message":"` + strings.Repeat("a", 10<<20) + `"}`, ""},
		{"a message of 10 MiB of white space", `{"message":"` + strings.Repeat(" ", 10<<20) + `"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			records := attack(0, "192.0.2.1", start)
			records = append(records[:3:3], append([]pipeline.Record{{Value: []byte(tc.record), Offset: 100, Time: start}}, records[3:]...)...)
			got := feed(t, eng, records)
			if len(got.alerts) != 1 || got.alerts[0] != "sluice/ssh-bf 192.0.2.1" {
				t.Errorf("alerts %q, want that of the attack around the record", got.alerts)
			}
			if tc.reason == "" {
				if got.stats.Undecodable != 0 {
					t.Errorf("the record was not decoded: %v", got.stats.Errors)
				}
			} else if d := got.dead; len(d) != 1 || d[0].Kind != pipeline.DeadUndecodable || d[0].Reason != tc.reason ||
				d[0].Position.Offset != 100 || string(d[0].Value) != tc.record[:min(len(tc.record), 64)] || d[0].Size != len(tc.record) {
				t.Errorf("dead letters %+v, want the record", d)
			} else if got.stats.Undecodable != 1 || got.stats.Errors[tc.reason] != 1 {
				t.Errorf("%d undecodable, by reason %v; want 1 %q", got.stats.Undecodable, got.stats.Errors, tc.reason)
			}
		})
	}
}

// TestUnparsedLinesAreKeptOneByOne: a record of several envelopes gives a dead
// letter for each line that no parser takes, and one for what cannot be decoded.
func TestUnparsedLinesAreKeptOneByOne(t *testing.T) {
	at := time.Date(2024, time.March, 3, 10, 0, 0, 0, time.UTC)
	good := string(attack(0, "192.0.2.1", at)[0].Value)
	got := feed(t, starter(t, "sluice/linux"), []pipeline.Record{{
		Value: []byte(`{"message":"one"}` + good + `{"message":"two"}{"note":"no message"}`), Key: []byte("key"), Offset: 7, Time: at,
	}})
	var text []string
	for _, d := range got.dead {
		text = append(text, fmt.Sprintf("%s %s@%d.%d %s %q %s", d.Kind, d.Position.Partition, d.Position.Offset, d.Position.Line, d.Reason, d.Value, d.Key))
	}
	want := []string{
		`unparsed test/logs/0@7.0 no parser takes the line "one" key`,
		`unparsed test/logs/0@7.2 no parser takes the line "two" key`,
		`undecodable test/logs/0@7.-1 no_message "{\"message\":\"one\"}`,
	}
	if len(text) != 3 || text[0] != want[0] || text[1] != want[1] || !strings.HasPrefix(text[2], want[2]) {
		t.Errorf("got %s", strings.Join(text, "\n"))
	}
}

// TestARecordFromTheFutureMovesTheClockLittle puts lines dated 2099 between
// those of an attack. With memory freed by the clock, a clock that followed
// them would forget the attack's bucket.
func TestARecordFromTheFutureMovesTheClockLittle(t *testing.T) {
	set, err := rules.Load(rules.Options{Roots: []string{"../../configs/rules"}, Collections: []string{"sluice/linux"}, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	const allowed = 3 * time.Second
	eng, errs := engine.Compile(set, engine.Options{Free: true, Lateness: time.Second, MaxFuture: allowed})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	start := time.Date(2024, time.March, 3, 10, 0, 0, 0, time.UTC)
	future := attack(100, "192.0.2.99", time.Date(2099, time.January, 1, 0, 0, 0, 0, time.UTC))[0]
	future.Time = start.Add(2 * time.Second) // when the broker had it
	records := attack(0, "192.0.2.1", start)
	records = append(records[:3:3], append([]pipeline.Record{future, future}, records[3:]...)...)
	records = append(records, attack(200, "192.0.2.2", start.Add(time.Minute))...)
	got := feed(t, eng, records)
	want := []string{"sluice/ssh-bf 192.0.2.1", "sluice/ssh-bf 192.0.2.2"}
	if fmt.Sprint(got.alerts) != fmt.Sprint(want) {
		t.Errorf("alerts %q, want %q", got.alerts, want)
	}
	if latest := start.Add(time.Minute + 5*time.Second); got.clock.After(latest) {
		t.Errorf("the clock stands at %v, past the last good line's %v", got.clock, latest)
	}
}

// TestALineThatNobodyUnderstandsMovesNoClock: an old log is read now, and a
// line of it does not parse. Its time of receipt is no time of the log's: it
// must not make every bucket old.
func TestALineThatNobodyUnderstandsMovesNoClock(t *testing.T) {
	set, err := rules.Load(rules.Options{Roots: []string{"../../configs/rules"}, Collections: []string{"sluice/linux"}, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	eng, errs := engine.Compile(set, engine.Options{Free: true, Lateness: time.Second})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	start, now := time.Date(2024, time.March, 3, 10, 0, 0, 0, time.UTC), time.Date(2026, time.May, 1, 0, 0, 0, 0, time.UTC)
	records := attack(0, "192.0.2.1", start)
	for i := range records {
		records[i].Time = now
	}
	noise := pipeline.Record{Value: []byte(`{"message":"-- MARK --"}`), Offset: 100, Time: now}
	records = append(records[:3:3], append([]pipeline.Record{noise}, records[3:]...)...)
	got := feed(t, eng, records)
	if want := []string{"sluice/ssh-bf 192.0.2.1"}; fmt.Sprint(got.alerts) != fmt.Sprint(want) {
		t.Errorf("alerts %q, want %q", got.alerts, want)
	}
	if got.clock.Year() != 2024 {
		t.Errorf("the clock stands at %v, a line's time of receipt", got.clock)
	}
}

// TestWhatASourceCannotReadIsCountedAndKept gives batches with dead letters,
// with records and without, to graphs that keep them and that do not.
func TestWhatASourceCannotReadIsCountedAndKept(t *testing.T) {
	eng := starter(t, "sluice/linux")
	part := pipeline.Partition{Source: "s3", Topic: "logs"}
	for _, keep := range []bool{true, false} {
		var stats pipeline.BatchStats
		var dead []pipeline.DeadLetter
		next := int64(0)
		g, err := eng.Graph(engine.GraphOptions{
			Workers: 1, Shards: 1, Poison: true, Dead: engine.DeadOptions{Unreadable: keep, Bytes: 4},
			Deliver: func(_ context.Context, o *pipeline.Outcome) error {
				stats.Add(&o.Stats)
				dead = append(dead, o.Dead...)
				next = o.Through[0].Next
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		eg, ctx := errgroup.WithContext(t.Context())
		eg.Go(func() error { return g.Run(ctx) })
		eg.Go(func() error {
			defer g.Close()
			letter := func(offset int64) []pipeline.DeadLetter {
				return []pipeline.DeadLetter{{Kind: pipeline.DeadUnreadable, Reason: "gzip", Value: []byte("an object"), Position: pipeline.Position{Offset: offset, Line: -1}}}
			}
			if err := g.Emit(ctx, &pipeline.RecordBatch{Partition: part, Dead: letter(1), Next: 2}); err != nil {
				return err
			}
			return g.Emit(ctx, &pipeline.RecordBatch{
				Partition: part, Dead: letter(2), Records: []pipeline.Record{{Value: []byte("x"), Offset: 3, Time: time.Unix(1e9, 0)}},
			})
		})
		if err := eg.Wait(); err != nil {
			t.Fatal(err)
		}
		if stats.Errors["unreadable"] != 2 || next != 4 {
			t.Errorf("counted %v, next %d", stats.Errors, next)
		}
		if !keep && len(dead) > 0 || keep && (len(dead) != 2 || string(dead[0].Value) != "an o" || dead[1].Position.Partition != part) {
			t.Errorf("keep %v: dead letters %+v", keep, dead)
		}
	}
}
