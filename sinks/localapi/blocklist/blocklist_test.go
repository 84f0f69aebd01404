package blocklist

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func read(t *testing.T, text string, o Options) ([]string, error) {
	t.Helper()
	var out []string
	err := Read(strings.NewReader(text), o, func(d Decision) error {
		out = append(out, fmt.Sprint(d.Scope, " ", d.Value, " ", d.Type, " ", d.Duration, " ", d.Reason))
		return nil
	})
	return out, err
}

func TestListsOfEveryFormat(t *testing.T) {
	o := Options{Type: "ban", Duration: "24h", Reason: "list"}
	for _, c := range []struct{ name, text, want string }{
		{"plain", "# a list\n192.0.2.1\n\n 2001:DB8::/32 ; comment\n198.51.100.7/24 extra words\n",
			"Ip 192.0.2.1 ban 24h list|Range 2001:db8::/32 ban 24h list|Range 198.51.100.0/24 ban 24h list"},
		{"a mark and Windows' ends of lines", "\ufeff192.0.2.1\r\n192.0.2.2/32\r\n", "Ip 192.0.2.1 ban 24h list|Ip 192.0.2.2 ban 24h list"},
		{"csv", "duration,scope,reason,type,value\n1h,ip,\"a, b\",captcha,192.0.2.1\n,,,,192.0.2.0/24\n,Country,,,FR\n",
			"Ip 192.0.2.1 captcha 1h a, b|Range 192.0.2.0/24 ban 24h list|Country FR ban 24h list"},
		{"a range of one address stays one", "value,scope\n192.0.2.5/32,range\n192.0.2.5/32,\n192.0.2.0/24,ip\n",
			"Range 192.0.2.5/32 ban 24h list|Ip 192.0.2.5 ban 24h list|Range 192.0.2.0/24 ban 24h list"},
		{"json", `[{"value":"192.0.2.1","duration":"2h","scenario":"why"},{"value":"::1","reason":"because","origin":"x"}]`, "Ip 192.0.2.1 ban 2h why|Ip ::1 ban 24h because"},
		{"what cscli prints", `[{"id":1,"decisions":[{"value":"192.0.2.1","origin":"CAPI"},{"value":"192.0.2.2"}]}]`, "Ip 192.0.2.1 ban 24h list|Ip 192.0.2.2 ban 24h list"},
		{"what the local API's stream answers", `{"deleted":[{"value":"192.0.2.9"}],"new":[{"value":"192.0.2.1","scope":"Ip","duration":"1h"}]}`, "Ip 192.0.2.1 ban 1h list"},
		{"nothing", "", ""},
	} {
		if got, err := read(t, c.text, o); err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: %q, %v", c.name, strings.Join(got, "|"), err)
		}
	}
}

func TestMistakesHaveAPlace(t *testing.T) {
	for _, c := range []struct{ text, format, want string }{
		{"192.0.2.1\nnowhere\n", "", "line 2"}, {"value,type\n192.0.2.1,ban\nx,ban\n", "", "line 3"}, {"a,b\n", CSV, "no column value"},
		{`[{"value":"192.0.2.1"},{"value":7}]`, "", "item 2"}, {`{"value":"x"}`, "", "no array"}, {`[{"value":"192.0.2.1"}`, "", "does not end"},
		{"x", "xml", "no format"}, {strings.Repeat("a", maxLine+1), "", "line 1"}, {"value,scope\n,Country\n", "", "no value"},
		{"<!DOCTYPE html><p>Sign in</p>", "", "web page"}, {" <html>", CSV, "web page"}, {`{"old":[]}`, "", "no array"}, {"value,x\n\"a\" b,c\n", "", "line 2"},
	} {
		if _, err := read(t, c.text, Options{Format: c.format}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.30q: %v, want %q", c.text, err, c.want)
		}
	}
	stop := errors.New("stop")
	if err := Read(strings.NewReader("192.0.2.1\n"), Options{}, func(Decision) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error = %v", err)
	}
}

func TestWhatIsNoItemIsSkippedAndNamed(t *testing.T) {
	for _, c := range []struct{ text, want, skipped string }{
		{"192.0.2.1\nnowhere\n192.0.2.2\n", "Ip 192.0.2.1|Ip 192.0.2.2", "line 2"},
		{"value,x\n192.0.2.1,\n\"a\" b,c\n192.0.2.2,\n", "Ip 192.0.2.1|Ip 192.0.2.2", "line 3"},
		{`[{"value":"192.0.2.1"},{"value":7},{"value":"x"},{"value":"192.0.2.2"}]`, "Ip 192.0.2.1|Ip 192.0.2.2", "item 2 item 3"},
	} {
		var got, skipped []string
		o := Options{Skip: func(err error) error {
			place, _, _ := strings.Cut(err.Error(), ":")
			skipped = append(skipped, place)
			return nil
		}}
		err := Read(strings.NewReader(c.text), o, func(d Decision) error { got = append(got, d.Scope+" "+d.Value); return nil })
		if err != nil || strings.Join(got, "|") != c.want || strings.Join(skipped, " ") != c.skipped {
			t.Errorf("%q: %v, skipped %v, %v", c.text, got, skipped, err)
		}
	}
	stop := errors.New("too many")
	if err := Read(strings.NewReader("x\n"), Options{Skip: func(error) error { return stop }}, nil); !errors.Is(err, stop) {
		t.Errorf("error = %v", err)
	}
	var country string
	if err := Read(strings.NewReader("fr\n"), Options{Scope: "country"}, func(d Decision) error { country = d.Scope + d.Value; return nil }); err != nil || country != "Countryfr" {
		t.Errorf("of another scope: %q, %v", country, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("192.0.2.1\n")
	f.Add("value,scope\n192.0.2.1,ip\n")
	f.Add(`[{"value":"192.0.2.1"}]`)
	f.Add(`{"new":[{"decisions":[{"value":"192.0.2.1"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []string{"", Plain, CSV, JSON} {
			for _, skip := range []func(error) error{nil, func(error) error { return nil }} {
				_ = Read(strings.NewReader(text), Options{Format: format, Skip: skip}, func(d Decision) error {
					if d.Value == "" || d.Scope == "" {
						t.Errorf("%q gives %+v", text, d)
					}
					return nil
				})
			}
		}
	})
}
