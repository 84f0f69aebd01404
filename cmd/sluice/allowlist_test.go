package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/sinks"
	"sluice/sinks/localapi"
	"sluice/sinks/localapi/store"
)

// asked is a server of decisions that the command line asks, and its configuration.
type asked struct {
	t      *testing.T
	config string
	// between is called once, when an answer is made and before the command gets it.
	between func()
}

func newAsked(t *testing.T) *asked {
	a, dir := &asked{t: t, config: filepath.Join(t.TempDir(), "sluice.yaml")}, t.TempDir()
	text := "rules: {roots: [rules]}\nsources: [{type: file, paths: [log]}]\nsinks: [{type: local_api, listen: [], dir: " + dir + "}]\n"
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := localapi.Default()
	c.Dir = dir
	sink, err := localapi.New("local_api", c, sinks.Env{})
	if err == nil {
		err = sink.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	admin := sink.Admin()
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin.ServeHTTP(w, r)
		if between := a.between; between != nil {
			a.between = nil
			between()
		}
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return a
}

// sluice runs a command, and returns what it says.
func (a *asked) sluice(command string) string {
	var out, failed bytes.Buffer
	if code := execute(a.t.Context(), append(strings.Fields(command), "-c", a.config), &out, &failed); code != 0 {
		a.t.Errorf("sluice %s ends with %d: %s", command, code, failed.String())
	}
	return out.String()
}

// TestTwoChangesOfAnAllowlistAtOnceAreBothKept has a second command change a
// list, from its begin to its end, while the first one waits for an answer that is made already.
func TestTwoChangesOfAnAllowlistAtOnceAreBothKept(t *testing.T) {
	for _, c := range []struct{ name, first, second, want string }{
		{"both add", "add office 192.0.2.1", "add office 192.0.2.2", `office "" 192.0.2.1 192.0.2.2 192.0.2.3`},
		{"one adds and one removes", "add office 192.0.2.1", "remove office 192.0.2.3", `office "" 192.0.2.1`},
		{"one removes and one adds", "remove office 192.0.2.3", "add office 192.0.2.1", `office "" 192.0.2.1`},
		{"one says what it is for", "add office 192.0.2.1", "add office 192.0.2.2 --description ours", `office "ours" 192.0.2.1 192.0.2.2 192.0.2.3`},
		{"both make a list", "add home 192.0.2.1", "add home 192.0.2.2", `home "" 192.0.2.1 192.0.2.2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAsked(t)
			a.sluice("allowlist add office 192.0.2.3")
			a.between = func() { a.sluice("allowlist " + c.second) }
			a.sluice("allowlist " + c.first)
			var all []store.Allowlist
			if err := json.Unmarshal([]byte(a.sluice("allowlist list -o json")), &all); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range all {
				items := make([]string, len(l.Items))
				for i := range l.Items {
					items[i] = l.Items[i].Value
				}
				slices.Sort(items)
				got = append(got, fmt.Sprintf("%s %q %s", l.Name, l.Description, strings.Join(items, " ")))
			}
			if !slices.Contains(got, c.want) {
				t.Errorf("the lists are %q, want %q among them", got, c.want)
			}
		})
	}
}
