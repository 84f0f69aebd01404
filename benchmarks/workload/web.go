package workload

import (
	"fmt"
)

var (
	pages = []string{
		"/", "/", "/", "/index.html", "/about", "/products", "/products/17", "/products/42?ref=mail", "/cart",
		"/checkout", "/search?q=shoes&page=2", "/api/v1/items?limit=50", "/api/v1/items/991", "/blog/2026/spring-sale",
	}
	assets = []string{
		"/static/app.3f9c.js", "/static/site.css", "/img/logo.png", "/img/hero.webp", "/favicon.ico", "/fonts/inter.woff2",
	}
	referrers = []string{"-", "-", "https://www.example.com/", "https://search.example.net/?q=shop"}
	browsers  = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
	}
	scanners = []string{
		"Nikto/2.5.0", "sqlmap/1.8.4#stable (https://sqlmap.org)", "masscan/1.3 (https://github.com/robertdavidgraham/masscan)",
	}
	missing = []string{
		"/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/index.php", "/admin.php", "/backup.zip", "/config.json.bak",
		"/cgi-bin/luci", "/server-status", "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/.aws/credentials", "/old/index.php",
	}
	traversals = []string{
		"/../../../../etc/passwd", "/static/..%2f..%2f..%2fetc/shadow", "/download?file=../../../../etc/passwd", "/cgi-bin/.%2e/.%2e/.%2e/bin/sh",
	}
)

// access writes a line in the combined log format.
func (s *Stream) access(addr, verb, path string, status, size int, referrer, agent string) Line {
	return Line{Nginx, s.now, fmt.Sprintf(`%s - - [%s] "%s %s HTTP/1.1" %d %d "%s" "%s"`,
		addr, s.now.UTC().Format("02/Jan/2006:15:04:05 -0700"), verb, path, status, size, referrer, agent), addr}
}

func (s *Stream) visit() Line {
	addr, agent := s.visitorAddr(), pick(s, browsers)
	switch n := s.rng.IntN(100); {
	case n < 40:
		return s.access(addr, "GET", pick(s, assets), 200, 500+s.rng.IntN(90000), "https://www.example.com/", agent)
	case n < 42:
		return s.access(addr, "GET", fmt.Sprintf("/products/%d", s.rng.IntN(5000)), 404, 162, pick(s, referrers), agent)
	case n < 50:
		return s.access(addr, "POST", "/api/v1/cart", 201, 90+s.rng.IntN(300), "https://www.example.com/cart", agent)
	case n < 55:
		return s.access(addr, "GET", pick(s, pages), 304, 0, pick(s, referrers), agent)
	}
	return s.access(addr, "GET", pick(s, pages), 200, 900+s.rng.IntN(40000), pick(s, referrers), agent)
}

// probe asks for files that are not there.
func probe(s *Stream, a *attacker) Line {
	path := missing[a.step%len(missing)]
	if a.step >= len(missing) {
		path = fmt.Sprintf("/%d%s", a.step, path)
	}
	return s.access(a.addr, "GET", path, 404, 162, "-", browsers[1])
}

// traverse tries to climb out of the document root.
func traverse(s *Stream, a *attacker) Line {
	return s.access(a.addr, "GET", traversals[a.step%len(traversals)]+fmt.Sprintf("?%d", a.step), 400, 157, "-", "curl/8.9.1")
}

// scan says plainly that it is a scanner.
func scan(s *Stream, a *attacker) Line {
	return s.access(a.addr, "GET", fmt.Sprintf("/item/%d?id=%d%%27", a.step, a.step), 200, 1200, "-", scanners[a.step%len(scanners)])
}
