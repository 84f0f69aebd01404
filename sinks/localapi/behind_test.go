package localapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// TestABouncerThatIsFarBehind is told what is gone and all that is in force.
func TestABouncerThatIsFarBehind(t *testing.T) {
	s := newServer(t, nil, nil)
	s.specs = nil // the answer is too long for being held to them in a test
	add := func(from, n int) {
		t.Helper()
		_, err := s.store.Import("agent", lapi.Alert{}, func(add func(*decisions.Decision) error) error {
			for i := range n {
				d := decisions.Decision{Origin: "o", Type: "ban", Scope: "Ip", Value: fmt.Sprintf("10.%d.%d.%d", (from+i)>>16, (from+i)>>8&255, (from+i)&255), Until: begin.Add(time.Hour)}
				if err := add(&d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add(0, 10)
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true", "", `"value":"10.0.0.9"`)
	if _, err := s.store.Delete(&decisions.Filter{ID: 1}); err != nil {
		t.Fatal(err)
	}
	add(10, farBehind)
	text := s.want(200, bouncer, "GET", "/v1/decisions/stream", "")
	removed, added, _ := strings.Cut(text, `"new":`)
	if !strings.Contains(removed, `"value":"10.0.0.0"`) || strings.Count(removed, `"value"`) != 1 || strings.Count(added, `"value"`) != farBehind+9 {
		t.Errorf("it is told to remove %d and to add %d", strings.Count(removed, `"value"`), strings.Count(added, `"value"`))
	}
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `{"deleted":[],"new":[]}`)
}
