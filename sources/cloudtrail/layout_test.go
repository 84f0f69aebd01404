package cloudtrail

import (
	"strings"
	"testing"
	"time"
)

func TestKeysTellWhatAFileIs(t *testing.T) {
	at := time.Date(2024, 5, 1, 12, 5, 0, 0, time.UTC)
	const name = "_eu-west-1_20240501T1205Z_AbC.json.gz"
	for _, c := range []struct {
		name, key string
		want      layout
	}{
		{"of an account", "AWSLogs/123456789012/CloudTrail/eu-west-1/2024/05/01/123456789012_CloudTrail" + name,
			layout{trail, "", "", "123456789012", "eu-west-1", at}},
		{"of an account, below a prefix", "p/AWSLogs/q/AWSLogs/123456789012/CloudTrail/eu-west-1/2024/05/01/123456789012_CloudTrail" + name,
			layout{trail, "p/AWSLogs/q/", "", "123456789012", "eu-west-1", at}},
		{"of an organisation", "AWSLogs/o-abc/123456789012/CloudTrail/eu-west-1/2024/05/01/123456789012_CloudTrail" + name,
			layout{trail, "", "o-abc", "123456789012", "eu-west-1", at}},
		{"of Insights", "p/AWSLogs/123456789012/CloudTrail-Insight/eu-west-1/2024/05/01/123456789012_CloudTrail-Insight" + name,
			layout{insight, "p/", "", "123456789012", "eu-west-1", at}},
		{"a digest", "AWSLogs/o-abc/123456789012/CloudTrail-Digest/eu-west-1/2024/05/01/123456789012_CloudTrail-Digest_eu-west-1_my_trail_eu-west-1_20240501T120500Z.json.gz",
			layout{digest, "", "o-abc", "123456789012", "eu-west-1", at}},
		{"of another service", "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2024/05/01/x.log.gz",
			layout{foreign, "", "", "123456789012", "eu-west-1", time.Time{}}},
		{"the folder decides, not the name", "AWSLogs/123456789012/Config/eu-west-1/123456789012_CloudTrail" + name,
			layout{foreign, "", "", "123456789012", "eu-west-1", at}},
		{"moved elsewhere", "archive/123456789012_CloudTrail" + name, layout{trail, "", "", "123456789012", "eu-west-1", at}},
		{"a digest moved elsewhere", "archive/123456789012_CloudTrail-Digest" + name, layout{digest, "", "", "123456789012", "eu-west-1", at}},
		{"renamed", "archive/today.json", layout{}},
		{"no account", "AWSLogs/12345/CloudTrail/x.json", layout{}},
		{"no day like that", "archive/123456789012_CloudTrail_eu-west-1_20240231T1205Z_x.json.gz", layout{trail, "", "", "123456789012", "eu-west-1", time.Time{}}},
		{"a folder alone", "AWSLogs/123456789012/CloudTrail/", layout{trail, "", "", "123456789012", "", time.Time{}}},
		{"nothing", "", layout{}},
	} {
		if got := parseKey(c.key); got != c.want {
			t.Errorf("%s: %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{
		"p/AWSLogs/o-abc/123456789012/CloudTrail/eu-west-1/2024/05/01/123456789012_CloudTrail_eu-west-1_20240501T1205Z_AbC.json.gz",
		"AWSLogs/AWSLogs/", "_CloudTrail-Digest__", "AWSLogs/o-/000000000000/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		l := parseKey(key)
		if l.kind < unknown || l.kind > foreign {
			t.Fatalf("the kind %d", l.kind)
		}
		if l.kind == foreign && !isAccount(l.account) {
			t.Fatalf("a foreign file of %q", l.account)
		}
		rest, ok := strings.CutPrefix(key, l.prefix)
		if !ok {
			t.Fatalf("the prefix %q", l.prefix)
		}
		if l.organisation != "" && !strings.HasPrefix(rest, "AWSLogs/"+l.organisation+"/"+l.account+"/") {
			t.Fatalf("%q is not of the organisation %q", key, l.organisation)
		}
		if !l.time.IsZero() && !strings.Contains(key, l.time.Format("20060102T1504")) {
			t.Fatalf("%q does not tell the time %v", key, l.time)
		}
	})
}
