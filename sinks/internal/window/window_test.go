package window

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
)

// place answers to alerts as a script says, which has a letter for each:
// a is acknowledged, r refused before it is sent, R by the place, f fails
// before it is sent, F is not acknowledged.
type place struct {
	script string
	did    []string // "+0" is the sending of the first alert, "-0" the wait for its acknowledgement
	onWay  int
	most   int
}

func (p *place) publish(a *pipeline.Alert) (func() error, error) {
	var i int
	if _, err := fmt.Sscan(a.UUID, &i); err != nil {
		return nil, err
	}
	switch p.script[i] {
	case 'r':
		return nil, fmt.Errorf("at the door: %w", Refuse(errors.New("too long")))
	case 'f':
		return nil, errors.New("the connection is gone")
	}
	p.did = append(p.did, "+"+a.UUID)
	p.onWay++
	p.most = max(p.most, p.onWay)
	return func() error {
		p.did = append(p.did, "-"+a.UUID)
		p.onWay--
		switch p.script[i] {
		case 'R':
			return Refuse(errors.New("too long"))
		case 'F':
			return errors.New("no answer")
		}
		return nil
	}, nil
}

func TestWhatIsSettledIsToldInOrder(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		settled      int
		rejected     []int
		err, did     string
	}{
		{name: "nothing"},
		{"all", "aaaaa", 5, nil, "", "+0 +1 -0 -1 +2 +3 -2 -3 +4 -4"},
		{"refusals stop nothing", "arRa", 4, []int{1, 2}, "", "+0 -0 +2 +3 -2 -3"},
		{"all refused", "rR", 2, []int{0, 1}, "", "+1 -1"},
		{"the first fails", "fa", 0, nil, "the connection is gone", ""},
		{"what was sent before a failure is waited for", "afaa", 1, nil, "the connection is gone", "+0 -0"},
		{"one behind it may be taken as well", "Faaa", 0, nil, "no answer", "+0 +1 -0"},
		{"a refusal before a failure stays one", "arFa", 2, []int{1}, "no answer", "+0 -0 +2 +3 -2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &place{script: tc.script}
			alerts := make([]pipeline.Alert, len(tc.script))
			for i := range alerts {
				alerts[i].UUID = fmt.Sprint(i)
			}
			settled, rejected, err := Deliver(alerts, 2, p.publish)
			var which []int
			if rejected != nil {
				if which = rejected.Alerts; !strings.HasSuffix(rejected.Reason.Error(), "too long") {
					t.Errorf("the reason is %v", rejected.Reason)
				}
			}
			if settled != tc.settled || !slices.Equal(which, tc.rejected) || (err != nil || tc.err != "") && fmt.Sprint(err) != tc.err {
				t.Errorf("settled %d, rejected %v, error %v; want %d, %v, %q", settled, which, err, tc.settled, tc.rejected, tc.err)
			}
			if did := strings.Join(p.did, " "); did != tc.did || p.most > 2 {
				t.Errorf("it did %s, with %d on their way; want %s", did, p.most, tc.did)
			}
		})
	}
}
