//go:build integration

package verdict

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// snippet returns a block of code of docs/verdict.md, by its language, with the
// addresses of this test in place of those that it stands there with.
func snippet(t *testing.T, language string, addresses ...string) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "verdict.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatalf("docs/verdict.md has no block of %s", language)
	}
	for i := 0; i < len(addresses); i += 2 {
		if !strings.Contains(block, addresses[i]) {
			t.Errorf("the block of %s in docs/verdict.md does not say %s", language, addresses[i])
		}
	}
	return strings.NewReplacer(addresses...).Replace(block) + "\n"
}

// site is a sluice that has decided on addresses of the loopback network, a
// site behind a proxy, and the proxy's own address.
type site struct {
	*rig.Instance
	api, origin, proxy, port, dir string
}

func newSite(t *testing.T, verdict map[string]any) *site {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	t.Cleanup(origin.Close)
	port := rig.Port(t)
	s := &site{
		api: fmt.Sprintf("127.0.0.1:%d", rig.Port(t)), origin: strings.TrimPrefix(origin.URL, "http://"),
		proxy: fmt.Sprintf("127.0.0.1:%d", port), port: fmt.Sprint(port), dir: t.TempDir(),
	}
	log := filepath.Join(s.dir, "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := rig.Probing(map[string]any{"type": "file", "paths": []string{log}, "follow": true})
	c["sinks"] = []any{map[string]any{"type": "local_api", "listen": []string{s.api}, "trusted_proxies": []string{"127.0.0.1"}, "verdict": verdict}}
	s.Instance = rig.New(t, "api", c)
	s.StartReady(t, "the local API is served")
	for _, args := range [][]string{
		{"decisions", "add", "--ip", "127.0.0.2", "--type", "ban"}, {"decisions", "add", "--ip", "127.0.0.3", "--type", "captcha"},
		{"decisions", "add", "--ip", "127.0.0.4", "--type", "throttle"}, {"decisions", "add", "--range", "127.0.1.0/24", "--type", "ban"},
		{"decisions", "add", "--ip", "127.0.1.3", "--type", "captcha"}, {"decisions", "add", "--ip", "127.0.1.5", "--type", "allow"},
	} {
		if out, err := exec.CommandContext(t.Context(), rig.Binary(t), append(args, "-c", s.ConfigFile())...).CombinedOutput(); err != nil {
			t.Fatalf("sluice %v: %v\n%s", args, err, out)
		}
	}
	return s
}

// ask asks for a page from an address of the loopback network. The client says
// of itself that it is another.
func (s *site) ask(t *testing.T, from, method, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.proxy+path, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "198.51.100.1")
	req.Header.Set("X-Real-IP", "198.51.100.1")
	req.Header.Set("Content-Encoding", "gzip")
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// judges has clients ask through the proxy, while sluice runs and when it is gone.
func (s *site) judges(t *testing.T, without int) {
	t.Helper()
	for _, c := range []struct {
		from string
		want int
	}{
		{"127.0.0.1", 200}, {"127.0.0.2", 403}, {"127.0.0.3", 401}, {"127.0.0.4", 429}, {"127.0.0.5", 200},
		{"127.0.1.1", 403}, {"127.0.1.3", 401}, {"127.0.1.5", 200},
	} {
		for _, method := range []string{"GET", "POST"} {
			got, text := s.ask(t, c.from, method, "/a//page?ip=198.51.100.1")
			if got != c.want || (got == 200) != (text == "hello") {
				t.Errorf("%s from %s is answered %d, want %d: %s", method, c.from, got, c.want, text)
			}
		}
	}
	s.Stop(t)
	if got, _ := s.ask(t, "127.0.0.2", "GET", "/"); got != without {
		t.Errorf("without sluice it is answered %d, want %d", got, without)
	}
}

func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNginx(t *testing.T) {
	program := rig.Need(t, "nginx-light", "nginx")
	s := newSite(t, map[string]any{"throttle_status": 403})
	block := snippet(t, "nginx", "127.0.0.1:8080", s.api, "127.0.0.1:3000", s.origin, "listen 80;", "listen "+s.proxy+";")
	config := s.write(t, "nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s}
`, s.dir, block))
	rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-c", config, "-p", s.dir) }, rig.Listens(s.proxy))
	s.judges(t, http.StatusInternalServerError)
}

func TestCaddy(t *testing.T) {
	program := rig.Need(t, "caddy", "caddy")
	s := newSite(t, nil)
	config := s.write(t, "Caddyfile", "{\n\tadmin off\n}\n"+
		snippet(t, "caddyfile", "127.0.0.1:8080", s.api, "127.0.0.1:3000", s.origin, "http://:80", "http://:"+s.port))
	rig.Run(t, func() *exec.Cmd {
		cmd := exec.Command(program, "run", "--config", config, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
		return cmd
	}, rig.Listens(s.proxy))
	s.judges(t, http.StatusBadGateway)
}

func TestHAProxy(t *testing.T) {
	program := rig.Need(t, "haproxy", "haproxy")
	s := newSite(t, nil)
	script := s.write(t, "sluice.lua", snippet(t, "lua", "127.0.0.1:8080", s.api))
	config := s.write(t, "haproxy.cfg", snippet(t, "haproxy", "/etc/haproxy/sluice.lua", script, "127.0.0.1:3000", s.origin, "bind :80", "bind "+s.proxy))
	rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-db", "-f", config) }, rig.Listens(s.proxy))
	s.judges(t, http.StatusOK)
}
