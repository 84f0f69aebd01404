package app

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/sinks/outbox"
)

func TestKeysOfThePipelineAreReadBesideTheSinksOwn(t *testing.T) {
	c, err := read([]byte("rules: {roots: [x]}\nsinks:\n- {type: stdout}\n- {type: stdout, on_full: drop_oldest, when: \"true\"}\n" +
		"- {retry: {max_attempts: 5, breaker: {failures: 0}}, batching: {alerts: 7, wait: 1m}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	retry := outbox.DefaultRetry()
	often := retry
	often.MaxAttempts, often.Breaker.Failures = 5, 0
	for i, want := range []sinkKeys{
		{onFull: outbox.Block, retry: retry},
		{onFull: outbox.DropOldest, retry: retry, when: "true", line: 4, column: 46},
		{onFull: outbox.Block, retry: often, retryAt: place{5, 11}, batching: outbox.Batching{Alerts: 7, Wait: time.Minute}, batchingAt: place{5, 64}},
	} {
		if got, _, err := takeSinkKeys(c.sinks[i]); got != want || err != nil {
			t.Errorf("sink %d: %+v, %v; want %+v", i, got, err, want)
		}
	}
}

func TestKeysOfThePipelineThatAreWrongAreErrorsWithTheirPlace(t *testing.T) {
	for sink, want := range map[string]string{
		"on_full: never":                       `line 3, column 12: on_full: it is "never"`,
		"{when: ''}":                           "line 3, column 10: when: it is empty",
		"retry: {max_attempt: 5}":              `line 3, column 11: retry: unknown key "max_attempt"; known here are breaker, budget, `,
		"retry: {max_attempts: -5}":            "line 3, column 25: retry: max_attempts: it is -5; it must be at least 1, or 0 to try for ever",
		"retry: {budget: {min_per_second: 0}}": "line 3, column 36: retry: budget.min_per_second: it is 0; it must be above 0",
		"retry: {breaker: {cool_down: 0s}}":    "line 3, column 32: retry: breaker.cool_down: it is 0s; it must be above 0, such as 30s",
		"batching: {alerts: -1}":               "line 3, column 22: batching: alerts: it is -1; it must be at least 1",
		"batching: {wait: 2h}":                 "line 3, column 20: batching: wait: it is 2h0m0s; it must be between 0 and 1h0m0s",
	} {
		c, err := read([]byte("rules: {roots: [x]}\nsinks:\n- " + sink + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := takeSinkKeys(c.sinks[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", sink, err, want)
		}
	}
}

func TestBoundsOfRetriesWithoutDeadLettersAreAnErrorWithItsPlace(t *testing.T) {
	r := newRig(t, "")
	r.second(", retry: {max_age: 1h}", "")
	c, err := Load(r.config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(c, Env{Log: slog.New(slog.DiscardHandler)})
	if want := "retry: max_attempts and max_age leave alerts to the dead letters, and there are none"; err == nil ||
		!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), r.config+":6:") {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestASinkThatGathersBatchesItselfHasNoOtherBatching(t *testing.T) {
	keys := sinkKeys{batching: outbox.Batching{Alerts: 7}, batchingAt: place{5, 64}}
	if err := keys.checkBatching(&fakeSink{}); err != nil {
		t.Error(err)
	}
	if err := keys.checkBatching(gathering{}); err == nil || !strings.Contains(err.Error(), "line 5, column 64: batching: this type of sink has keys of its own") {
		t.Errorf("got %v", err)
	}
	if err := new(sinkKeys).checkBatching(gathering{}); err != nil {
		t.Error(err)
	}
}

// gathering is a sink with batches of its own.
type gathering struct{ *fakeSink }

func (gathering) Batch() (int, time.Duration) { return 1, 0 }

func TestTheStatusLineNamesASinkThatABreakerLeavesAlone(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.edit(r.config, "name: "+r.sink.name+"}]\n"+stateHere, "name: "+r.sink.name+", retry: {breaker: {failures: 1, cool_down: 1ms}}}]\n"+stateHere)
	r.sink.asks = make(chan chan error)
	r.start()
	r.assign(0, -1)
	r.fail(0, 0, 6)
	r.checkpoint()
	first := <-r.sink.asks
	const left = "left alone"
	if line := r.p.Status().line(Status{}, time.Second); strings.Contains(line, left) {
		t.Errorf("before it failed: %s", line)
	}
	first <- errors.New("500 Internal Server Error")
	probe := <-r.sink.asks
	if line, want := r.p.Status().line(Status{}, time.Second), " · 1 wait for sinks · "+left+": "+r.sink.name+" (breaker half-open)"; !strings.Contains(line, want) {
		t.Errorf("%s\nwant %s", line, want)
	}
	probe <- nil
	r.alert()
	r.end() // it drains the outbox
	if line := r.p.Status().line(Status{}, time.Second); strings.Contains(line, left) {
		t.Errorf("in the end: %s", line)
	}
}

// second gives a rig another sink, called night, and conditions to both.
func (r *rig) second(first, second string) *fakeSink {
	r.t.Helper()
	night := &fakeSink{name: "night-" + r.sink.name, got: make(chan string, 1000)}
	fakes.Lock()
	fakes.sinks[night.name] = night
	fakes.Unlock()
	r.edit(r.config, fmt.Sprintf("sinks: [{type: fake, name: %s}]", r.sink.name),
		fmt.Sprintf("sinks:\n- {type: fake, name: %s%s}\n- {type: fake, name: %s%s}\n", r.sink.name, first, night.name, second))
	return night
}

func TestAConditionThatIsWrongIsAnErrorWithItsPlace(t *testing.T) {
	for when, want := range map[string]string{
		"Alert.Senario == 'x'": `at line 1, column 7 of the expression: there is no field or method "Senario" here`,
		"Alert.Scenario":       "when: it is no condition: it gives string, not a bool",
	} {
		r := newRig(t, "")
		r.second("", fmt.Sprintf(`, when: "%s"`, when))
		c, err := Load(r.config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(c, Env{Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), r.config+":7:") {
			t.Errorf("%s: %v, want %s", when, err, want)
		}
	}
}

func TestAlertsGoToTheSinksWhoseConditionHolds(t *testing.T) {
	const (
		ours   = `, when: "Alert.GetScenario() startsWith 'sluice/' && any(Alert.Decisions, .Type == 'ban')"`
		theirs = `, when: "Alert.GetScenario() startsWith 'acme/'"`
		broken = `, when: "Alert.Events[99].Timestamp == 'x'"`
	)
	for name, tc := range map[string]struct {
		first, second string
		night         bool
	}{
		"one holds":       {ours, theirs, false},
		"both hold":       {ours, ours, true},
		"one has none":    {"", theirs, false},
		"one fails on it": {ours, broken, true},
	} {
		for kind, extra := range map[string]string{"durable": stateHere + "}", "direct": ""} {
			t.Run(name+" "+kind, func(t *testing.T) {
				r := newRig(t, extra)
				night := r.second(tc.first, tc.second)
				r.start()
				if extra != "" {
					r.assign(0, -1)
				}
				r.fail(0, 0, 6)
				if extra != "" {
					r.checkpoint()
				}
				if got := r.alert(); got != "sluice/ssh-bf@5" {
					t.Errorf("alert %s, want sluice/ssh-bf@5", got)
				}
				r.end() // it drains the outbox
				if got := len(night.got) == 1; got != tc.night || len(r.sink.got) != 0 {
					t.Errorf("the other sink got it: %v, want %v", got, tc.night)
				}
			})
		}
	}
}

// TestTheConditionIsDecidedWhenTheAlertIsMade: one that waits in the outbox
// through a restart goes where it was addressed, whatever the file says by then.
func TestTheConditionIsDecidedWhenTheAlertIsMade(t *testing.T) {
	r := newRig(t, stateHere+"}\noutbox: {drain: 0s}")
	night := r.second("", `, when: "Alert.GetScenario() startsWith 'acme/'"`)
	day := r.sink
	stuck := make(chan string) // nobody reads it: the alert waits
	day.got = stuck
	r.start()
	r.assign(0, -1)
	r.fail(0, 0, 6)
	r.checkpoint()
	r.end()
	day.got = make(chan string, 10)
	r.edit(r.config, "acme/", "sluice/")
	r.start()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
	r.end()
	if len(night.got) != 0 {
		t.Errorf("the other sink got %s, which was not addressed to it", <-night.got)
	}
}

func TestAReloadKeepsTheConditions(t *testing.T) {
	r := newRig(t, stateHere+"}")
	night := r.second("", `, when: "GetDecisionsCount(Alert.GetValue()) > 1"`)
	r.withRules()
	r.start()
	r.assign(0, -1)
	r.fail(0, 0, 6)
	r.checkpoint()
	r.alert()
	if err := r.p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fail(0, 600, 612) // ten minutes on: the second decision, which the first one's ledger must know
	r.checkpoint()
	second := r.alert()
	r.end()
	if len(night.got) == 0 {
		t.Fatal("the condition does not know of the decision before the reload")
	}
	if got := <-night.got; got != second {
		t.Errorf("the other sink got %s, want %s alone", got, second)
	}
}
