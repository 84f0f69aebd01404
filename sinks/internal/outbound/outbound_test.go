package outbound

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAddressesWithCredentialsAreRefused(t *testing.T) {
	for address, want := range map[string]bool{
		"169.254.169.254:80": false, "[::ffff:169.254.169.254]:80": false, "[fe80::1%lo]:80": false, "[fd00:ec2::254]:80": false,
		"100.100.100.200:80": false, "0.0.0.0:80": false, "127.0.0.1:80": true, "10.0.0.1:80": true, "[2001:db8::1]:443": true,
		"[64:ff9b::a9fe:a9fe]:80": false, "[2002:a9fe:a9fe::1]:80": false, "[::a9fe:a9fe]:80": false, "168.63.129.16:80": false,
		"[64:ff9b:1::a9fe:a9fe]:80": false, "[64:ff9b:1:a9fe:a9:fe00::]:80": false, "[64:ff9b:1:a9:fe:a9fe::]:80": false, "[64:ff9b:1:0:a9:fea9:fe00:0]:80": false,
		"[64:ff9b:1::c000:201]:80": true, "[::ffff:0:a9fe:a9fe]:80": false, "[2001:db8::5efe:a9fe:a9fe]:80": false, "[2001:db8::200:5efe:a9fe:1]:80": false,
		"[2001:db8:64::a9fe:a9fe]:80": false, "[2001:db8:64::a83f:8110]:80": false, "[2001:db8:64::a9fe:102]:80": true, "[2001:db8::5efe:c000:201]:80": true,
		"[fd20:ce::254]:80": false, "[64:ff9b::c000:201]:80": true, "[2002:c000:201::1]:80": true, "[::1]:80": true,
	} {
		if err := Check(address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestHostsAreReadAsProxiesReadThem: a proxy looks names up itself, and many read numbers as inet_aton does.
func TestHostsAreReadAsProxiesReadThem(t *testing.T) {
	for host, want := range map[string]bool{
		"169.254.169.254": false, "169.254.169.254.": false, "2852039166": false, "0xA9FEA9FE": false, "0251.0376.0251.0376": false, "169.254.43518": false,
		"169.0xfea9fe": false, "fe80::1%eth0": false, "::ffff:a9fe:a9fe": false, "Metadata.Google.Internal.": false, "instance-data": false,
		"192.0.2.1": true, "10.1": true, "3221225985": true, "99999999999": true, "1.2.3.4.5": true, "1.256.1": true, "hooks.example.com": true, "metadata.example.com": true, "": true, "1_0.1": true,
	} {
		if err := CheckHost(host); (err == nil) != want {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestARedirectionLeadsNowhereForbidden(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data", http.StatusFound))
	defer server.Close()
	transport := Transport(Options{Timeout: time.Minute})
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(server.URL)
	if err == nil {
		res.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "allow_link_local") {
		t.Errorf("error = %v", err)
	}
}

func TestProxies(t *testing.T) {
	for text, want := range map[string]bool{"": true, "http://proxy:3128": true, "proxy:3128": false, "http://[": false, "ftp://proxy": false, "socks5://proxy:1080": true} {
		if err := CheckProxy(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	proxied := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proxied = r.URL.String() }))
	defer proxy.Close()
	transport := Transport(Options{Timeout: time.Minute, Proxy: proxy.URL})
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("http://lists.invalid/all")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if proxied != "http://lists.invalid/all" {
		t.Errorf("the proxy was asked for %q", proxied)
	}
	for url, want := range map[string]bool{"http://169.254.169.254/x": false, "http://[::ffff:169.254.169.254]:8080/": false, "http://0xa9fea9fe/": false, "http://metadata.google.internal/": false, "http://192.0.2.1/": true} {
		res, err := (&http.Client{Transport: transport}).Get(url)
		if err == nil {
			res.Body.Close()
		}
		if (err == nil) != want {
			t.Errorf("through the proxy, %s: %v", url, err)
		}
	}
}
