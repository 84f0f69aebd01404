//go:build integration

package schemathesis

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/lapi/lapispec"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// The parts of a run: see each.
var (
	//go:embed hooks.py
	hooks []byte
	//go:embed schemathesis.toml
	settings []byte
)

// version is the schemathesis that the tests were written with.
const version = "4.32.5"

// What the server and the client of a run know.
const (
	key          = "a key for the bouncer"
	password     = "a password for the agent"
	registration = "a token that a machine registers with"
)

// server is a sluice that has decided on the addresses of hooks.py.
func server(t *testing.T) (in *rig.Instance, url string) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := rig.Probing(map[string]any{"type": "file", "paths": []string{log}, "follow": true})
	c["sinks"] = []any{map[string]any{
		"type": "local_api", "listen": []string{address}, "trusted_proxies": []string{"127.0.0.0/8"}, "verdict": map[string]any{"explain": true},
		"auto_registration": map[string]any{"token": registration, "allowed_ranges": []string{"10.0.0.0/8"}},
	}}
	in = rig.New(t, "api", c)
	in.StartReady(t, "the local API is served")
	for _, args := range [][]string{
		{"bouncers", "add", "fw", "--key", key}, {"machines", "add", "agent", "--password", password},
		{"decisions", "add", "--ip", "192.0.2.1", "--type", "ban"}, {"decisions", "add", "--ip", "192.0.2.2", "--type", "captcha"},
		{"decisions", "add", "--ip", "192.0.2.3", "--type", "throttle"}, {"decisions", "add", "--range", "192.0.2.0/24", "--type", "ban"},
		{"allowlist", "add", "office", "192.0.2.4"},
	} {
		if out, err := exec.CommandContext(t.Context(), rig.Binary(t), append(args, "-c", in.ConfigFile())...).CombinedOutput(); err != nil {
			t.Fatalf("sluice %v: %v\n%s", args, err, out)
		}
	}
	return in, "http://" + address
}

// fuzz runs schemathesis on a description and fails the test on what it finds.
func fuzz(t *testing.T, in *rig.Instance, url, base, description string, args ...string) {
	t.Helper()
	python := rig.NeedPython(t, "schemathesis-"+version, "schemathesis=="+version)
	dir := t.TempDir()
	for name, text := range map[string][]byte{"hooks.py": hooks, "schemathesis.toml": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seed := rig.Seed(t) % (1 << 32)
	cmd := python.Command(dir, append([]string{"-m", "schemathesis.cli", "run", description, "--url", url + base,
		"--seed", strconv.FormatUint(seed, 10), "--generation-database", "none", "--phases", "examples,coverage,fuzzing",
		"--generation-with-security-parameters", "false", "--no-color"}, args...)...)
	cmd.Env = append(cmd.Env, "PYTHONPATH="+python.Lib+":"+dir, "SCHEMATHESIS_HOOKS=hooks", "PYTHONHASHSEED=0",
		"SLUICE_API="+url, "SLUICE_KEY="+key, "SLUICE_PASSWORD="+password, "SLUICE_REGISTRATION="+registration)
	out, err := cmd.CombinedOutput()
	said := string(out)
	if err != nil {
		t.Errorf("schemathesis: %v\n%s", err, said)
	}
	if i := strings.LastIndex(said, "Test cases:"); i >= 0 {
		t.Log(strings.TrimSpace(said[i:]))
	} else {
		t.Errorf("it tried nothing:\n%s", said)
	}
	for _, bad := range []string{"level=ERROR", "in a way that nobody thought of"} {
		if n := in.Said(bad); n > 0 {
			t.Errorf("sluice said %d times: %s", n, bad)
		}
	}
}

// TestAnswersAreAsDescribed holds the server to its own description.
func TestAnswersAreAsDescribed(t *testing.T) {
	in, url := server(t)
	examples := "8"
	if rig.Soak() {
		examples = "100"
	}
	fuzz(t, in, url, "", url+"/openapi.yaml", "--max-examples", examples)
	in.Stop(t)
}

// TestAnswersAreAsPublished holds the server to the published specification of
// CrowdSec's local API. What it does not tell of (that a key may be missing, an
// alert unknown, an address no address) cannot be checked by it: which status is
// answered, what is refused, and how to sign in. Nor can the type of the
// content: it asks for JSON where there is no content.
func TestAnswersAreAsPublished(t *testing.T) {
	spec := lapispec.Path(filepath.Join("..", "..", "..", "..", "..", "shared", "lapi", "localapi_swagger.yaml"))
	if _, err := os.Stat(spec); err != nil {
		t.Skipf("skipped 1 part: the published specification is not at hand: %v", err)
	}
	spec, err := filepath.Abs(spec)
	if err != nil {
		t.Fatal(err)
	}
	in, url := server(t)
	fuzz(t, in, url, "/v1", spec, "--max-examples", "4",
		"--checks", "not_a_server_error,response_headers_conformance,response_schema_conformance")
	in.Stop(t)
}
