//go:build integration

package localapi

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// publisher is an nginx that serves a list from a folder.
type publisher struct {
	*rig.Part
	dir, url string
	version  int
}

func startPublisher(t *testing.T) *publisher {
	t.Helper()
	program := rig.Need(t, "nginx-light", "nginx")
	p := &publisher{dir: t.TempDir()}
	address := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	p.url = "http://" + address + "/bad.txt"
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events {}
http {
  log_format statuses "$status"; access_log %[1]s/access.log statuses; gzip on; gzip_types text/plain; gzip_min_length 1; types { text/plain txt; }
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; root %[1]s/lists; }
}
`, p.dir, address)
	if err := errors.Join(os.WriteFile(filepath.Join(p.dir, "nginx.conf"), []byte(config), 0o600), os.Mkdir(filepath.Join(p.dir, "lists"), 0o755), os.Chmod(p.dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	p.says(t, "")
	p.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-c", filepath.Join(p.dir, "nginx.conf"), "-p", p.dir) }, rig.Listens(address))
	return p
}

// says puts another list in place, as of a later second.
func (p *publisher) says(t *testing.T, lines ...string) {
	t.Helper()
	path := filepath.Join(p.dir, "lists", "bad.txt")
	p.version++
	at := time.Now().Add(time.Duration(p.version-100) * time.Minute)
	next := path + ".next"
	if err := errors.Join(os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o644), os.Chtimes(next, at, at), os.Rename(next, path)); err != nil {
		t.Fatal(err)
	}
}

// answered counts the answers with a status.
func (p *publisher) answered(t *testing.T, status string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count("\n"+string(text), "\n"+status+"\n")
}

// TestABlockListReachesBouncers has nginx publish a list, and CrowdSec's custom
// bouncer follow it through Sluice: what joins and leaves it is told on the
// list's schedule, what stays is told once, through kill -9, the publisher's
// absence and a page in place of the list; what is allowed is left out.
func TestABlockListReachesBouncers(t *testing.T) {
	p := startPublisher(t)
	p.says(t, "# bad ones", "192.0.2.1", "192.0.2.2", "198.51.100.0/24", "2001:db8::1", "what is this")
	address := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	list := map[string]any{"name": "bad", "url": p.url, "every": "10s", "duration": "2m"}
	a := newAPI(t, rig.Binary(t), address, map[string]any{"blocklists": []any{list}})
	a.StartReady(t, "a block list has changed")
	b := startCustom(t, a, nil)
	b.expect(t, "add 192.0.2.1", "add 192.0.2.2", "add 198.51.100.0/24", "add 2001:db8::1")

	p.says(t, "192.0.2.2", "198.51.100.0/24", "2001:db8::1", "203.0.113.9") // nobody asks for it: it is due
	b.expect(t, "del 192.0.2.1", "add 203.0.113.9")
	unchanged := p.answered(t, "304")
	if out := a.sluice(t, "blocklists", "refresh", "bad"); out != "bad: 4 items, 0 added, 0 removed\n" {
		t.Errorf("refresh says %q", out)
	}
	if n := p.answered(t, "304"); n <= unchanged {
		t.Errorf("nginx has answered 304 %d times: the list is asked for whole", n)
	}

	a.Kill(t)
	p.says(t, "192.0.2.2", "198.51.100.0/24", "2001:db8::1", "203.0.113.10")
	a.StartReady(t, "the local API is served")
	b.expect(t, "del 203.0.113.9", "add 203.0.113.10")

	p.says(t, "<!DOCTYPE html><title>Sign in</title>")
	if _, err := run(t, exec.CommandContext(t.Context(), rig.Binary(t), "blocklists", "refresh", "bad", "-c", a.ConfigFile())); err == nil || !strings.Contains(err.Error(), "web page") {
		t.Errorf("of a page in place of the list refresh says %v", err)
	}
	p.Kill(t)
	if _, err := run(t, exec.CommandContext(t.Context(), rig.Binary(t), "blocklists", "refresh", "bad", "-c", a.ConfigFile())); err == nil {
		t.Error("a list is read from a server that is gone")
	}
	if out := a.sluice(t, "decisions", "list", "--origin", "lists", "-o", "csv"); strings.Count(out, "lists:bad") != 4 {
		t.Errorf("while the list cannot be read, in force are\n%s", out)
	}
	if n := a.Said("a block list cannot be read"); n != 1 {
		t.Errorf("the log tells %d times that the list cannot be read", n)
	}
	p.says(t, "192.0.2.2", "198.51.100.0/24", "2001:db8::1", "203.0.113.11")
	p.Start(t)
	a.sluice(t, "blocklists", "refresh")
	b.expect(t, "del 203.0.113.10", "add 203.0.113.11")

	a.sluice(t, "allowlist", "add", "office", "198.51.100.7", "--comment", "us")
	b.expect(t, "del 198.51.100.0/24")
	if out := a.sluice(t, "blocklists", "refresh", "--force"); out != "bad: 4 items, 0 added, 0 removed, 1 allowed\n" {
		t.Errorf("refresh says %q", out)
	}
	told := b.told(t)
	for _, stays := range []string{"192.0.2.2", "2001:db8::1"} {
		if strings.Count(told, "add "+stays+" ") != 1 || strings.Contains(told, "del "+stays+" ") {
			t.Errorf("of %s, which stayed, the bouncer was told\n%s", stays, told)
		}
	}

	a.sluice(t, "machines", "add", "operator", "--password", "a secret")
	c := newCrowdsec(t, map[string]any{"url": a.url, "login": "operator", "password": "a secret"})
	if got := values(t, c.run(t, "decisions", "list", "--origin", "lists", "--all")); len(got) != 3 {
		t.Errorf("cscli lists %v", got)
	}
	a.Stop(t)
}
