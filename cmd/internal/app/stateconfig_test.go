package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesOfStateAndOutboxAreNamed(t *testing.T) {
	for _, test := range []struct{ yaml, want string }{
		{"state: {interval: 0s}", ":2:19: state.interval: it must be above 0"},
		{"state: {min_interval: 2s}", "state.min_interval: it is 2s; it must be above 0 and at most state.interval (1s)"},
		{"state: {missing: perhaps}", `state.missing: it is "perhaps"; it can be wait, fresh or rebuild`},
		{"state: {rebuild_lookback: -1h}", "state.rebuild_lookback: it must be above 0"},
		{"state: {reserve: some}", `"some" is not a size`},
		{"state: {directory: x}", `unknown key "directory"`},
		{"outbox: {quota: 0}", "outbox.quota: it must be above 0"},
		{"outbox: {batch_alerts: 0}", "outbox.batch_alerts: it is 0"},
		{"outbox: {drain: -1s}", "outbox.drain: it must not be below 0"},
		{"pipeline: {order: alphabetical}", `pipeline.order: it is "alphabetical"; it can be arrival or merged`},
		{"pipeline: {idle_after: 0s}", "pipeline.idle_after: it must be above 0"},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte("rules: {roots: [x]}\n"+test.yaml+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.yaml, err, test.want)
		}
	}
}
