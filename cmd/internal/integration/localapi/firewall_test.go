//go:build integration && linux

package localapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/rig"
)

// firewall is CrowdSec's firewall bouncer in a network of its own, on a sluice there.
type firewall struct {
	*api
	*namespace
	bouncer *rig.Part
	// blocked returns what the kernel has, as values of decisions.
	blocked func() []string
	worst   time.Duration
}

// startFirewall starts both. Mode is one of the bouncer's.
func startFirewall(t *testing.T, mode string, blocked func(*testing.T, *namespace) []string) *firewall {
	t.Helper()
	root := rig.Unpack(t, "crowdsec-firewall-bouncer")
	n := newNamespace(t, "192.0.2.1/32", "192.0.2.77/32", "198.51.100.7/32", "2001:db8::1/128", "2001:db8:1::7/128")
	f := &firewall{namespace: n, blocked: func() []string { return blocked(t, n) }}
	f.api = newAPI(t, n.program(t, rig.Binary(t)), "127.0.0.1:8080", nil)
	f.StartReady(t, "the local API is served")
	f.sluice(t, "bouncers", "add", "firewall", "--key", "a key for the firewall")
	dir := t.TempDir()
	text, err := yaml.Marshal(map[string]any{
		"mode": mode, "pid_dir": dir, "update_frequency": frequency.String(), "daemonize": false, "log_mode": "stdout", "log_dir": dir, "log_level": "info",
		"api_url": f.url + "/", "api_key": "a key for the firewall", "deny_action": "DROP", "supported_decisions_types": []string{"ban"},
		"blacklists_ipv4": "crowdsec-blacklists", "blacklists_ipv6": "crowdsec6-blacklists", "ipset_type": "nethash", "iptables_chains": []string{"INPUT"},
		"nftables": map[string]any{
			"ipv4": map[string]any{"enabled": true, "table": "crowdsec", "chain": "crowdsec-chain"},
			"ipv6": map[string]any{"enabled": true, "table": "crowdsec6", "chain": "crowdsec6-chain"},
		},
		"prometheus": map[string]any{"enabled": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "bouncer.yaml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "usr", "bin", "crowdsec-firewall-bouncer")
	f.bouncer = rig.Run(t, func() *exec.Cmd { return n.command(program, "-c", config) }, func(context.Context) error { return nil })
	return f
}

// follows waits until the kernel has what sluice lists. Beside the time that
// bouncers have anyway it may take as long as given.
func (f *firewall) follows(t *testing.T, what string, beside time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), frequency+time.Second+slack+beside)
	defer cancel()
	var want, have []string
	err := rig.Poll(ctx, "the firewall to follow", func() (bool, error) {
		want, have = f.decided(t), f.blocked()
		return slices.Equal(want, have), f.Ended()
	})
	if err != nil {
		t.Fatalf("%s: %v: it has %s", what, err, differ(want, have))
	}
	took := time.Since(began)
	f.worst = max(f.worst, took-beside)
	t.Logf("%s: the firewall has the same %d after %v", what, len(have), took.Round(10*time.Millisecond))
}

// sets returns what the bouncer's sets of ipset hold.
func sets(t *testing.T, n *namespace) []string {
	t.Helper()
	out := []string{}
	for line := range strings.Lines(n.run(t, "ipset", "save")) {
		if word := strings.Fields(line); len(word) > 2 && word[0] == "add" {
			out = append(out, word[2])
		}
	}
	slices.Sort(out)
	return out
}

// tables returns what the bouncer's sets of nftables hold.
func tables(t *testing.T, n *namespace) []string {
	t.Helper()
	var rules struct {
		Nftables []struct {
			Set struct {
				Elem []struct{ Elem struct{ Val string } }
			}
		}
	}
	text := n.run(t, "nft", "-j", "list", "ruleset")
	if err := json.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out := []string{}
	for _, r := range rules.Nftables {
		for _, e := range r.Set.Elem {
			out = append(out, e.Elem.Val)
		}
	}
	slices.Sort(out)
	return out
}

// TestTheFirewallBouncer runs CrowdSec's firewall bouncer on a real firewall:
// what that blocks must be what sluice lists, whatever happens to either.
func TestTheFirewallBouncer(t *testing.T) {
	t.Parallel()
	t.Run("ipset", func(t *testing.T) {
		t.Parallel()
		rig.Need(t, "iptables", "iptables")
		rig.Need(t, "ipset", "ipset")
		f := startFirewall(t, "iptables", sets)
		for _, r := range []string{"192.0.2.64/26", "203.0.113.0/24", "2001:db8:1::/48"} {
			f.sluice(t, "decisions", "add", "--range", r)
		}
		f.follows(t, "ranges", 0)
		f.passes(t, map[string]bool{"192.0.2.77": false, "198.51.100.7": true, "2001:db8:1::7": false})
		f.sluice(t, "decisions", "delete", "--range", "192.0.2.64/26")
		f.sluice(t, "decisions", "delete", "--range", "2001:db8:1::/48")
		f.follows(t, "deleted ranges", 0)
		many, importing := 500, 4*time.Second // it calls ipset for every decision
		if rig.Soak() {
			many, importing = 5_000, 20*time.Second
		}
		f.lives(t, many, importing)
	})
	t.Run("nftables", func(t *testing.T) {
		t.Parallel()
		// This version takes the first address of a range for the whole: so there are none here.
		rig.Need(t, "nftables", "nft")
		f := startFirewall(t, "nftables", tables)
		f.lives(t, 5_000, 0)
	})
}

// passes checks which addresses still get through.
func (f *firewall) passes(t *testing.T, want map[string]bool) {
	t.Helper()
	for _, from := range slices.Sorted(maps.Keys(want)) {
		to := "192.0.2.1"
		if netip.MustParseAddr(from).Is6() {
			to = "2001:db8::1"
		}
		within := 500 * time.Millisecond // the kernel answers at once or not at all,
		if want[from] {
			within = slack // but a busy machine may see to it later
		}
		if got := f.connects(t, from, to, within); got != want[from] {
			t.Errorf("from %s a connection comes about: %v, want %v", from, got, want[from])
		}
	}
}

// lives goes through what may happen. An import of many may take as long as given.
func (f *firewall) lives(t *testing.T, many int, importing time.Duration) {
	t.Helper()
	f.passes(t, map[string]bool{"192.0.2.77": true, "198.51.100.7": true, "2001:db8:1::7": true})
	for _, ip := range []string{"192.0.2.77", "198.51.100.9", "2001:db8:1::7", "2001:db8:2::7"} {
		f.sluice(t, "decisions", "add", "--ip", ip)
	}
	f.sluice(t, "decisions", "add", "--ip", "198.51.100.10", "--duration", "3s")
	f.sluice(t, "decisions", "add", "--ip", "2001:db8:2::8", "--duration", "4s")
	f.sluice(t, "decisions", "add", "--ip", "198.51.100.11", "--duration", "3s") // and then, since it goes on,
	f.follows(t, "added", 0)
	f.sluice(t, "decisions", "add", "--ip", "198.51.100.11", "--duration", "1h")
	f.passes(t, map[string]bool{"192.0.2.77": false, "198.51.100.7": true, "2001:db8:1::7": false})
	f.sluice(t, "decisions", "delete", "--ip", "192.0.2.77")
	f.follows(t, "deleted", 0)
	f.passes(t, map[string]bool{"192.0.2.77": true, "2001:db8:1::7": false})

	f.without(t, "198.51.100.10", "2001:db8:2::8")
	f.follows(t, "over, and prolonged", 0)
	if have := f.blocked(); !slices.Contains(have, "198.51.100.11") {
		t.Errorf("what was prolonged is not blocked any more: %v", have)
	}

	list := filepath.Join(t.TempDir(), "list")
	var text strings.Builder
	for i := range many {
		if i%2 == 0 {
			fmt.Fprintf(&text, "10.%d.%d.%d\n", i%7, i/256, i%256)
		} else {
			fmt.Fprintf(&text, "2001:db8:ffff::%x:%x\n", i%7+1, i)
		}
	}
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	f.sluice(t, "decisions", "import", list, "--reason", "a list", "--duration", "1h")
	f.follows(t, "imported", importing)

	f.Kill(t)
	f.sluice(t, "decisions", "delete", "--ip", "198.51.100.9") // in the folder, while nothing runs
	f.StartReady(t, "the local API is served")
	f.sluice(t, "decisions", "add", "--ip", "192.0.2.77")
	f.follows(t, "sluice killed", 0)
	f.passes(t, map[string]bool{"192.0.2.77": false})

	f.sluice(t, "decisions", "delete", "--scenario", "a list")
	f.follows(t, "a list deleted", importing)

	f.bouncer.Kill(t)
	f.sluice(t, "decisions", "delete", "--ip", "192.0.2.77")
	f.sluice(t, "decisions", "add", "--ip", "198.51.100.7")
	f.bouncer.Start(t)
	f.follows(t, "the bouncer killed", 5*time.Second) // it sets up its sets first, with pauses
	f.passes(t, map[string]bool{"192.0.2.77": true, "198.51.100.7": false})
	f.Stop(t)
	t.Logf("the firewall was at most %v behind", f.worst.Round(10*time.Millisecond))
}

// without waits until decisions are over.
func (f *firewall) without(t *testing.T, values ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "decisions to be over", func() (bool, error) {
		for _, v := range f.decided(t) {
			if slices.Contains(values, v) {
				return false, f.Ended()
			}
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
}
