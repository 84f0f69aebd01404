package mqtt

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
)

func TestFiltersMatchAndNameLevels(t *testing.T) {
	for _, tc := range []struct {
		filter, topic string
		found         string // labels as name=value, in order; "-" when it does not match
	}{
		{"a/b", "a/b", ""},
		{"a/b", "a/b/c", "-"},
		{"a/b", "a", "-"},
		{"a/+", "a/b", ""},
		{"a/+", "a/", ""},
		{"a/+", "a", "-"},
		{"+/+", "/b", ""},
		{"a/#", "a/b/c", ""},
		{"a/#", "a", ""},
		{"a/#", "ab", "-"},
		{"#", "a/b", ""},
		{"#", "$SYS/uptime", "-"},
		{"+/uptime", "$SYS/uptime", "-"},
		{"$SYS/#", "$SYS/uptime", ""},
		{"devices/{device}/auth", "devices/door/auth", "device=door"},
		{"devices/{device}/auth", "devices//auth", "device="},
		{"{site}/{device}/log", "berlin/7/log", "site=berlin device=7"},
		{"logs/{path...}", "logs/web/access", "path=web/access"},
		{"logs/{path...}", "logs", ""},
		{"$share/sluice/devices/{device}/auth", "devices/door/auth", "device=door"},
		{"$share/sluice/devices/{device}/auth", "$share/sluice/devices/door/auth", "-"},
	} {
		f, err := parseFilter(tc.filter)
		if err != nil {
			t.Fatalf("%s: %v", tc.filter, err)
		}
		var found []string
		got := "-"
		if f.match(tc.topic, func(name, value string) { found = append(found, name+"="+value) }) {
			got = strings.Join(found, " ")
		}
		if got != tc.found {
			t.Errorf("%s with %s finds %q, want %q", tc.filter, tc.topic, got, tc.found)
		}
	}
}

func TestFiltersAsTheBrokerGetsThem(t *testing.T) {
	for filter, wire := range map[string]string{
		"devices/{device}/auth":     "devices/+/auth",
		"{a}/{rest...}":             "+/#",
		"$share/g/devices/{device}": "$share/g/devices/+",
		"/":                         "/",
		"$SYS/broker/log/#":         "$SYS/broker/log/#",
	} {
		if f, err := parseFilter(filter); err != nil || f.wire != wire {
			t.Errorf("%s is sent as %q, %v, want %q", filter, f.wire, err, wire)
		}
	}
}

func TestFiltersThatAreNone(t *testing.T) {
	for filter, says := range map[string]string{
		"":                         "empty",
		"a/#/b":                    "must be the last",
		"{rest...}/b":              "must be the last",
		"a+/b":                     "alone",
		"a/b#":                     "alone",
		"{a}/{a}":                  "two levels",
		"x{a}":                     "letters, digits",
		"{a b}":                    "letters, digits",
		"{}":                       "letters, digits",
		"{9}":                      "letters, digits",
		"$share/":                  "GROUP",
		"$share/g":                 "GROUP",
		"$share/+/a":               "GROUP",
		"$share/g/":                "empty",
		"a\x00b":                   "NUL",
		"a\xff":                    "UTF-8",
		strings.Repeat("x", 65536): "65535",
	} {
		if _, err := parseFilter(filter); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q gives %v, want an error that says %q", filter, err, says)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/+", "a/c", true}, {"a/+", "a/c/d", false},
		{"a/#", "a/c/d", true}, {"a/#", "a", true}, {"a/#", "b/#", false}, {"#", "x", true}, {"+/b", "a/+", true},
	} {
		a, _ := parseFilter(tc.a)
		b, _ := parseFilter(tc.b)
		if overlaps(a.levels, b.levels) != tc.want || overlaps(b.levels, a.levels) != tc.want {
			t.Errorf("overlaps(%s, %s) is not %v", tc.a, tc.b, tc.want)
		}
	}
}

func TestTheFirstFilterThatMatchesGivesTheLabels(t *testing.T) {
	c := Default()
	c.Labels = map[string]string{"site": "x", "type": "plain"}
	c.Subscriptions = []Subscription{
		{Filter: "devices/{device}/auth", Labels: map[string]string{"type": "auth"}}, {Filter: "devices/#"}, {Filter: "other/#"},
	}
	r, err := newRouter(&c)
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]map[string]string{
		"devices/door/auth": {"site": "x", "type": "auth", "device": "door"},
		"devices/door/up":   {"site": "x", "type": "plain"},
		"elsewhere":         nil,
	} {
		got := r.find([]byte(topic))
		if (got.labels == nil) != (want == nil) || want != nil && !maps.Equal(got.labels.values, want) {
			t.Errorf("%s has the labels %v, want %v", topic, got.labels, want)
		}
		if r.find([]byte(topic)) != got {
			t.Errorf("%s is not remembered", topic)
		}
	}
	if r.find([]byte("devices/a/up")).labels != r.find([]byte("devices/b/up")).labels {
		t.Error("topics with the same labels do not share them, so their messages never make a run")
	}
}

func TestTopicsThatAreManyAreNotAllRemembered(t *testing.T) {
	c := Default()
	c.Subscriptions = []Subscription{{Filter: "#"}}
	r, err := newRouter(&c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*maxRoutes + 1 {
		r.find(fmt.Append(nil, i))
		if len(r.routes) > maxRoutes {
			t.Fatalf("%d topics are remembered", len(r.routes))
		}
	}
	long := strings.Repeat("x", 60_000)
	for i := range 1000 {
		r.find(fmt.Append(nil, i, long))
		if r.bytes > maxRouteBytes {
			t.Fatalf("topics of %d bytes are remembered", r.bytes)
		}
	}
}

// FuzzMatch holds the matcher to a regular expression made of the filter.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"devices/{device}/auth", "devices/door/auth"}, {"a/#", "a"}, {"+/+", "/b"}, {"$share/g/{p...}", "x/y"}, {"#", "$SYS/x"}, {"{a}/{b...}", "a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, topic string) {
		parsed, err := parseFilter(text)
		if err != nil {
			return
		}
		again, err := parseFilter(parsed.wire)
		if err != nil || again.wire != parsed.wire || again.shared != parsed.shared {
			t.Fatalf("%q is sent as %q, which reads as %q, %v", text, parsed.wire, again.wire, err)
		}
		values := 0
		got := parsed.match(topic, func(name, value string) {
			values++
			if !isName(name) || !strings.Contains(topic, value) {
				t.Errorf("%q in %q: the label %q has the value %q", text, topic, name, value)
			}
		})
		if plain := again.match(topic, nil); plain != got {
			t.Fatalf("%q matches %q: %v, and %q: %v", text, topic, got, parsed.wire, plain)
		}
		if want := byRegexp(parsed.wire, topic); got != want {
			t.Fatalf("%q matches %q: %v, want %v", text, topic, got, want)
		}
		if got && !overlaps(parsed.levels, parsed.levels) {
			t.Fatalf("%q does not overlap itself", text)
		}
	})
}

func byRegexp(wire, topic string) bool {
	if after, ok := strings.CutPrefix(wire, "$share/"); ok {
		_, wire, _ = strings.Cut(after, "/")
	}
	if topic == "" || topic[0] == '$' && (wire[0] == '+' || wire[0] == '#') {
		return false
	}
	var pattern strings.Builder
	for i, part := range strings.Split(wire, "/") {
		slash := "/"
		if i == 0 {
			slash = ""
		}
		switch part {
		case "+":
			pattern.WriteString(slash + "[^/]*")
		case "#":
			if i == 0 {
				pattern.WriteString("(?s:.*)")
			} else {
				pattern.WriteString("(?s:/.*)?")
			}
		default:
			pattern.WriteString(slash + regexp.QuoteMeta(part))
		}
	}
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(topic)
}
