package sources

import (
	"os"
	"strings"
	"testing"
)

func TestTheOrdinalOfAHost(t *testing.T) {
	for host, want := range map[string]Ordinal{"sluice-2": 2, "sluice-0.sluice.svc.cluster.local": 0, "a-b-17": 17} {
		if got, err := ordinalOf(host); got != want || err != nil {
			t.Errorf("%s: %d, %v", host, got, err)
		}
	}
	for _, host := range []string{"sluice", "sluice2", "web.host-3", "a-99999999999"} {
		if got, err := ordinalOf(host); err == nil || !strings.Contains(err.Error(), "ends with a number") {
			t.Errorf("%s: %d, %v", host, got, err)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Skipf("the host has no name: %v", err)
	}
	want, wantErr := ordinalOf(host)
	share := Share{Ordinal: AutoOrdinal, Count: 1 << 30}
	if err := share.Resolve(); (err == nil) != (wantErr == nil) || err == nil && share.Ordinal != want {
		t.Errorf("share %+v, %v", share, err)
	}
}
