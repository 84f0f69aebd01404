package app

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/porttest"
	_ "sluice/sources/http"
)

// TestRulesFireOnRequestsOfLogShippers has the starter rules find the guessing of passwords in
// what shippers send, each from an address of its own.
func TestRulesFireOnRequestsOfLogShippers(t *testing.T) {
	root, err := filepath.Abs("../../../configs/rules")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	line := func(i, n int) string {
		return fmt.Sprintf("%s web sshd[7]: Failed password for root from 198.51.100.%d port %d ssh2", now.Format(time.Stamp), i, 40000+n)
	}
	// each makes a text of seven lines.
	each := func(i int, sep string, form func(line string) string) string {
		var all []string
		for n := range 7 {
			all = append(all, form(line(i, n)))
		}
		return strings.Join(all, sep)
	}
	quoted := func(text string) string {
		q, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(q)
	}
	requests := []struct{ name, source, path, body string }{
		{"lines", "lines", "/lines/syslog", each(1, "\n", func(l string) string { return l })},
		{"Loki", "lines", "/loki/api/v1/push", `{"streams":[{"stream":{"type":"syslog"},"values":[` + each(2, ",", func(l string) string {
			return fmt.Sprintf(`["%d",%s]`, now.UnixNano(), quoted(l))
		}) + `]}]}`},
		{"Vector", "vector", "/ingest", `[` + each(3, ",", func(l string) string {
			return fmt.Sprintf(`{"message":%s,"type":"syslog","timestamp":%q}`, quoted(l), now.Format(time.RFC3339Nano))
		}) + `]`},
		{"Fluent Bit", "fluentbit", "/ingest", each(4, "", func(l string) string {
			return fmt.Sprintf(`{"date":%d,"log":%s,"type":"syslog"}`, now.Unix(), quoted(l))
		})},
		{"Logstash", "logstash", "/ingest", `[` + each(5, ",", func(l string) string {
			return fmt.Sprintf(`{"@timestamp":%q,"@version":"1","message":%s,"fields":{"type":"syslog"}}`, now.Format(time.RFC3339Nano), quoted(l))
		}) + `]`},
	}
	places := make(map[string]string)
	sources := ""
	for name, more := range map[string]string{
		"lines":     `paths: [{path: "/lines/{type}", format: lines, labels_from: {type: "path:type"}}, {path: /loki/api/v1/push, format: loki}]`,
		"vector":    "decode: {preset: vector}",
		"fluentbit": "decode: {preset: fluentbit}",
		"logstash":  "decode: {preset: filebeat}",
	} {
		places[name] = porttest.Keep(t)
		sources += fmt.Sprintf("  - {type: http, name: %s, listen: [%q], intake: direct, ack: accepted, %s}\n", name, places[name], more)
	}
	conf := load(t, fmt.Sprintf("rules: {roots: [%q], collections: [sluice/linux]}\nsources:\n%ssinks: [{type: stdout, format: text}]\n", root, sources))
	out := runFed(t, conf, len(requests), func(ctx context.Context) error {
		for _, r := range requests {
			if err := postSoon(ctx, "http://"+places[r.source]+r.path, r.body); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
		return nil
	})
	for i, r := range requests {
		if !strings.Contains(out, fmt.Sprintf("sluice/ssh-bf  Ip 198.51.100.%d ", i+1)) {
			t.Errorf("%s: no alert in\n%s", r.name, out)
		}
	}
}
