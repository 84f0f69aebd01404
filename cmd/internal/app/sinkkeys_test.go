package app

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"sluice/sinks/outbox"
)

func TestKeysOfThePipelineAreReadBesideTheSinksOwn(t *testing.T) {
	c, err := read([]byte("rules: {roots: [x]}\nsinks:\n- {type: stdout}\n- {type: stdout, on_full: drop_oldest, when: \"true\"}\n" +
		"- on_full: never\n- {when: ''}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []sinkKeys{{onFull: outbox.Block}, {onFull: outbox.DropOldest, when: "true", line: 4, column: 46}} {
		if got, _, err := takeSinkKeys(c.sinks[i]); got != want || err != nil {
			t.Errorf("sink %d: %+v, %v; want %+v", i, got, err, want)
		}
	}
	for i, want := range map[int]string{2: `line 5, column 12: on_full: it is "never"`, 3: "line 6, column 10: when: it is empty"} {
		if _, _, err := takeSinkKeys(c.sinks[i]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
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
