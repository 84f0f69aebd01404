package decide_test

import (
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/decide"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
)

// newAllowing returns a decider whose one profile bans, with allow-lists, and its ledger.
func newAllowing(lists ...decide.Allowlist) (*decide.Decider, *decide.Ledger, error) {
	ledger := decide.NewLedger()
	c := expression.NewCompiler(pipeline.NewSchema(), funcs.NewData(), expression.Options{Decisions: ledger})
	d, err := decide.New([]decide.Profile{is("ban", "", "", "true")}, lists, c, ledger)
	return d, ledger, err
}

func TestNothingIsDecidedOnWhatIsAllowed(t *testing.T) {
	list := decide.Allowlist{Name: "office", Items: []decide.AllowlistItem{
		{Expression: "Alert.Events[3].Timestamp == 'x'"},
		{Value: "192.0.2.0/24", Comment: "us"}, {Value: "198.51.100.1", Until: "2026-03-01T10:00:01Z"}, {Value: "198.51.100.2", Until: "2026-03-01"},
		{Expression: "Alert.Source.AsNumber == '15169'"},
	}}
	for _, c := range []struct{ name, scope, value, as, want string }{
		{"an address of a range", "Ip", "192.0.2.1", "", "192.0.2.0/24 from office (us)"},
		{"a range around it", "Range", "192.0.0.0/16", "", "192.0.2.0/24 from office (us)"},
		{"an item that has not ended at the alert's time", "Ip", "198.51.100.1", "", "198.51.100.1 from office"},
		{"one that has", "Ip", "198.51.100.2", "", ""},
		{"an expression", "Ip", "8.8.8.8", "15169", "Alert.Source.AsNumber == '15169' from office"},
		{"nothing of it", "Ip", "203.0.113.1", "64500", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, ledger, err := newAllowing(list)
			if err != nil {
				t.Fatal(err)
			}
			a := alert(c.scope, c.value, stop)
			a.Source.AsNumber = c.as
			v := d.Decide(a)
			n, _ := ledger.Count(c.value)
			if v.Allowed != c.want || (len(v.Decisions) == 0) != (c.want != "") || n != len(v.Decisions) {
				t.Errorf("%+v, want %q; the ledger counts %d", v, c.want, n)
			}
			if len(v.Notify) != 1 {
				t.Errorf("told are %v: who is told does not depend on it", v.Notify)
			}
			if v := d.DecideUnless(alert("Ip", "203.0.113.9", stop), "a list of a sink"); v.Allowed != "a list of a sink" || v.Decisions != nil {
				t.Errorf("what a sink allows: %+v", v)
			}
		})
	}
}

func TestAnExpressionThatFailsExceptsNothingAndIsTold(t *testing.T) {
	d, _, err := newAllowing(decide.Allowlist{Name: "x", Items: []decide.AllowlistItem{{Expression: "Alert.Events[3].Timestamp == 'x'"}}})
	if err != nil {
		t.Fatal(err)
	}
	if v := d.Decide(alert("Ip", "192.0.2.1", stop)); len(v.Decisions) != 1 || len(v.Errors) != 1 || !strings.Contains(v.Errors[0].Error(), "allow-list x") {
		t.Errorf("%+v", v)
	}
}

func TestMistakesInAllowlistsAreNamed(t *testing.T) {
	item := func(it decide.AllowlistItem) []decide.Allowlist {
		return []decide.Allowlist{{Name: "x", Items: []decide.AllowlistItem{{Value: "192.0.2.1"}, it}}}
	}
	for says, lists := range map[string][]decide.Allowlist{
		"has no name":                {{}},
		"two allow-lists are called": {{Name: "x"}, {Name: "x"}},
		"item 2: set value":          item(decide.AllowlistItem{}),
		"no address":                 item(decide.AllowlistItem{Value: "nowhere"}),
		"until is \"soon\"":          item(decide.AllowlistItem{Value: "192.0.2.2", Until: "soon"}),
		"gives string, not a bool":   item(decide.AllowlistItem{Expression: "Alert.Scenario"}),
	} {
		if _, _, err := newAllowing(lists...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// TestTheLedgerDoesNotKnowWhatWasNotDecided: a duration that counts decisions
// begins with the first that was made.
func TestTheLedgerDoesNotKnowWhatWasNotDecided(t *testing.T) {
	d, ledger, err := newAllowing(decide.Allowlist{Name: "x", Items: []decide.AllowlistItem{{Value: "192.0.2.1", Until: "2026-03-01T10:30:00Z"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		d.Decide(alert("Ip", "192.0.2.1", stop.Add(time.Duration(i)*20*time.Minute)))
	}
	if n, err := ledger.Count("192.0.2.1"); n != 2 || err != nil {
		t.Errorf("the ledger counts %d, %v", n, err)
	}
}
