package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/porttest"
	_ "sluice/sources/kubernetesaudit"
)

// auditEvents are what an API server posts of: an attack each, by the scenario that finds it.
func auditEvents(now time.Time) map[string][]string {
	event := func(ip, verb, user, reference, status, more string) string {
		return fmt.Sprintf(`{"level":"RequestResponse","auditID":"57a794de-44d3-40ee-a0ad-c0eb096eef6c","stage":"ResponseComplete","requestURI":"/api/v1","verb":%q,`+
			`"user":{"username":%q,"groups":["system:authenticated"]},"sourceIPs":[%q],"userAgent":"kubectl/v1.30.0","objectRef":{%s},"responseStatus":{"metadata":{},"code":%s},%s`+
			`"requestReceivedTimestamp":%q,"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":"allow"}}`,
			verb, user, ip, reference, status, more, now.UTC().Format("2006-01-02T15:04:05.000000Z"), now.UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	pod := `"resource":"pods","namespace":"foo","name":"test-pod-1","apiVersion":"v1"`
	spec := func(s string) string { return `"requestObject":{"kind":"Pod","apiVersion":"v1","spec":{` + s + `}},` }
	var guesses []string
	for range 7 {
		guesses = append(guesses, event("192.0.2.4", "list", "somebody", pod, "403", ""))
	}
	denied := event("192.0.2.7", "list", "system:serviceaccount:foo:bar", pod, "403", "")
	return map[string][]string{
		"k8s-audit-pod-exec":                      {event("192.0.2.1", "create", "admin", pod+`,"subresource":"exec"`, "101", "")},
		"k8s-audit-privileged-pod-creation":       {event("192.0.2.2", "create", "admin", pod, "201", spec(`"containers":[{"name":"a","securityContext":{"privileged":true}}]`))},
		"k8s-audit-pod-host-network":              {event("2001:db8::3", "create", "admin", pod, "201", spec(`"hostNetwork":true,"containers":[{"name":"a"}]`))},
		"k8s-audit-api-server-bruteforce":         guesses,
		"k8s-audit-anonymous-access":              {event("192.0.2.5", "get", "system:anonymous", `"resource":"secrets"`, "200", "")},
		"k8s-audit-pod-host-path-volume":          {event("192.0.2.6", "create", "admin", pod, "201", spec(`"containers":[{"name":"a"}],"volumes":[{"name":"v","hostPath":{"path":"/etc"}}]`))},
		"k8s-audit-service-account-access-denied": {strings.Replace(denied, `"allow"`, `"forbid"`, 1)},
	}
}

// TestTheHubsRulesFireOnAuditEvents posts events as an API server does, and
// has the hub's rules find all that they know, by either branch of their parser.
func TestTheHubsRulesFireOnAuditEvents(t *testing.T) {
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		hub = filepath.FromSlash("../../../../shared/hub")
	}
	root, err := filepath.Abs(hub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "collections")); err != nil {
		t.Skipf("no rules in %s; set SLUICE_HUB to a clone of the hub", root)
	}
	for _, emit := range []string{"event", "crowdsec"} {
		t.Run(emit, func(t *testing.T) {
			place := porttest.Keep(t)
			conf := load(t, fmt.Sprintf(`
rules: {roots: [%q], collections: [crowdsecurity/k8s-audit], parsers: [crowdsecurity/syslog-logs, crowdsecurity/dateparse-enrich]}
sources: [{type: kubernetes_audit, listen: [%q], emit: %s, intake: direct, ack: accepted}]
sinks: [{type: stdout, format: text}]
`, root, place, emit))
			attacks := auditEvents(time.Now())
			var all []string
			for _, events := range attacks {
				all = append(all, events...)
			}
			out := runFed(t, conf, len(attacks), func(ctx context.Context) error {
				body := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(all, ",") + "]}\n"
				return postSoon(ctx, "http://"+place+"/audit?timeout=30s", body)
			})
			for scenario := range attacks {
				if !strings.Contains(out, "crowdsecurity/"+scenario) {
					t.Errorf("no alert of %s in\n%s", scenario, out)
				}
			}
		})
	}
}

// postSoon posts to a server that is being started.
func postSoon(ctx context.Context, url, body string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode/100 == 2 {
				return nil
			}
			err = fmt.Errorf("answered with %s", resp.Status)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
