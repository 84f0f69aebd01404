package sources

import (
	"strings"
	"testing"

	"sluice/pipeline"
)

func TestAHeldPositionIsGivenUpOnlyOnDemand(t *testing.T) {
	for _, c := range []struct {
		reset Reset
		held  bool
		want  Reset
	}{
		{"", false, ResetEarliest},
		{"", true, ResetFail},
		{ResetEarliest, true, ResetEarliest},
		{ResetLatest, true, ResetLatest},
		{ResetFail, false, ResetFail},
	} {
		if got := c.reset.At(c.held); got != c.want || c.reset.Validate() != nil {
			t.Errorf("%q at a position held %v: %q, want %q; %v", c.reset, c.held, got, c.want, c.reset.Validate())
		}
	}
	if err := Reset("oldest").Validate(); err == nil || !strings.Contains(err.Error(), `"oldest" is none of earliest, latest, fail`) {
		t.Errorf("error %v", err)
	}
}

func TestTheErrorOfAHeldPositionSaysWhatToDo(t *testing.T) {
	const want = "offset 2 is gone, and the state stands there; give its state up with `sluice state reset --partition k/logs/0`, " +
		"or set on_reset: earliest or latest to go on with the records between missing from it"
	if err := HeldError("offset 2 is gone", "records", pipeline.Partition{Source: "k", Topic: "logs"}); err.Error() != want {
		t.Errorf("error %v", err)
	}
}
