package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "sluice/sources/syslog"
)

// TestRulesFireOnSyslogMessages has rules find the guessing of passwords in
// messages as real programs send them, each from an address of its own.
func TestRulesFireOnSyslogMessages(t *testing.T) {
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		hub = filepath.FromSlash("../../../../shared/hub")
	}
	now := time.Now().UTC() // lines of long ago would meet no bucket any more
	bsd, iso := now.Format(time.Stamp), now.In(time.FixedZone("", 3600)).Format("2006-01-02T15:04:05.000000Z07:00")
	forms := []struct{ name, head string }{
		{"logger, RFC 3164", "<86>" + bsd + " web sshd[42]: "},
		{"logger, RFC 5424", "<86>1 " + iso + ` web sshd 42 - [timeQuality tzKnown="1" isSynced="1" syncAccuracy="2500"] `},
		{"syslog(3), which names no host", "<86>" + bsd + " sshd[42]: "},
		{"rsyslog, precise times", "<86>" + iso + " web sshd[42]: "},
		{"rsyslog, RFC 5424", "<86>1 " + iso + " web sshd 42 - - "},
		{"syslog-ng, RFC 5424, without a process", "<86>1 " + now.Format(time.RFC3339) + " web sshd - - - "},
		{"a byte order mark", "<86>1 " + iso + " web sshd 42 - - \xEF\xBB\xBF"},
		{"an IPv6 address as the host", "<86>" + bsd + " 2001:db8::1 sshd[42]: "},
		{"a device without a clock", "<86>sshd[42]: "},
	}
	for _, c := range []struct{ name, root, collection, scenario string }{
		{"starter rules", filepath.FromSlash("../../../configs/rules"), "sluice/linux", "sluice/ssh-bf"},
		{"the hub's rules", hub, "crowdsecurity/linux", "crowdsecurity/ssh-bf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := filepath.Abs(c.root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(root, "collections")); err != nil {
				t.Skipf("no rules in %s; set SLUICE_HUB to a clone of the hub", root)
			}
			socket := filepath.Join(t.TempDir(), "log")
			conf := load(t, fmt.Sprintf(`
rules: {roots: [%q], collections: [%s]}
sources: [{type: syslog, listen: [%q]}]
sinks: [{type: stdout, format: text}]
`, root, c.collection, "unixgram:"+socket))
			// Some scenarios of the hub find something, too; those looked for make an alert a form.
			out := runFed(t, conf, len(forms), func(ctx context.Context) error {
				conn, err := dialSoon(ctx, socket)
				if err != nil {
					return err
				}
				defer conn.Close()
				for i, form := range forms {
					for n := range 6 { // with the last of the last form the run ends, and nobody takes another
						if _, err := fmt.Fprintf(conn, "%sFailed password for root from 198.51.100.%d port %d ssh2", form.head, i+1, 40000+n); err != nil {
							return err
						}
					}
				}
				return nil
			})
			for i, form := range forms {
				found := false
				for line := range strings.Lines(out) {
					found = found || strings.Contains(line, c.scenario) && strings.Contains(line, fmt.Sprintf("198.51.100.%d ", i+1))
				}
				if !found {
					t.Errorf("%s: no alert of %s in\n%s", form.name, c.scenario, out)
				}
			}
		})
	}
}

// dialSoon connects to a socket that is being made.
func dialSoon(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("unixgram", path)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
