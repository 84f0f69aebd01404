package docker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func lines(n int) func(map[string][]string) bool {
	return func(l map[string][]string) bool { return len(l["/0"]) >= n }
}

// sorted is what came of all containers.
func sorted(r *sourcetest.Run) string {
	all := r.Lines()["/0"]
	slices.Sort(all)
	return strings.Join(all, ",")
}

func TestContainersComeAndGo(t *testing.T) {
	e := newEngine(t)
	a := e.run("aaa", "web", nil)
	e.write(a, -time.Hour, "before")
	e.write(a, time.Second, "a1")
	r, s := e.read(t.TempDir(), nil, func(c *Config) { c.Labels = map[string]string{"type": "nginx"} })
	r.Wait("the first line", lines(1))
	e.writeTo(a, 2, 2*time.Second, "", "a2")
	b := e.run("bbb", "db", nil)
	e.write(b, 3*time.Second, "b1")
	r.Wait("those of two containers", lines(3))
	r.Eventually("the marks of both", func() bool { return len(s.intake.Marks()) == 3 })
	e.setRunning(a, false)
	e.write(b, 4*time.Second, "b2")
	e.remove(b)
	r.Eventually("the mark of a removed container to go", func() bool { return len(s.intake.Marks()) == 2 })
	e.setRunning(a, true) // its line is the last: nothing of b comes any more
	e.write(a, 5*time.Second, "a3")
	r.Wait("those after a second start", func(l map[string][]string) bool { return slices.Contains(l["/0"], "a3") })
	if got := sorted(r); got != "a1,a2,a3,b1" && got != "a1,a2,a3,b1,b2" { // b was removed: its last line may have been read
		t.Errorf("got %s", got)
	}
	last := r.Last("/0")
	headers := make(map[string]string)
	for _, h := range last.Headers {
		headers[h.Key] = string(h.Value)
	}
	want := map[string]string{"container_name": "web", "container_id": "aaa", "image": "image:1", "stream": "stdout"}
	if !maps.Equal(headers, want) || last.Labels["type"] != "nginx" || !last.Time.Equal(base.Add(5*time.Second)) {
		t.Errorf("%+v", last)
	}
	if n := len(s.intake.Marks()); n != 2 {
		t.Errorf("%d marks are left, want 2", n)
	}
	if st := s.Stats(); st.Skipped != 1 || st.Errors != 0 {
		t.Errorf("%+v\n%s", st, r.Log)
	}
}

func TestEngineWithoutEventsIsAsked(t *testing.T) {
	e := newEngine(t)
	e.quiet = true
	r, _ := e.read(t.TempDir(), nil, nil)
	r.Eventually("the first list", func() bool { return e.asked("/containers/json") > 0 })
	e.write(e.run("aaa", "web", nil), time.Second, "a")
	r.Expect("/0:a")
}

// TestEqualTimesCountOnce stops and starts the source behind every line of a
// log whose times are equal or go back within the slack.
func TestEqualTimesCountOnce(t *testing.T) {
	e, dir := newEngine(t), t.TempDir()
	c := e.run("aaa", "web", nil)
	var want []string
	var next sources.Positions
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		n := 1 + random.IntN(4)
		for range n {
			at := time.Duration(round)*700*time.Millisecond - time.Duration(random.IntN(2))*300*time.Millisecond
			text := fmt.Sprint("line ", len(want)/3) // equal texts, too
			e.write(c, time.Second+at, text)
			want = append(want, text)
		}
		r, s := e.read(dir, next, nil)
		r.Wait("the new lines", lines(n))
		next = r.Stop()
		if got := r.Lines()["/0"]; !slices.Equal(got, want[len(want)-n:]) || s.Stats().Gaps != 0 {
			t.Fatalf("round %d: got %q, want %q\n%s", round, got, want[len(want)-n:], r.Log)
		}
	}
}

func TestALogThatWasRotatedIsTold(t *testing.T) {
	e, dir := newEngine(t), t.TempDir()
	c := e.run("aaa", "web", nil)
	e.write(c, time.Second, "a", "b", "c")
	r, _ := e.read(dir, nil, nil)
	r.Expect("/0:a,b,c")
	next := r.Stop()
	e.change(func() { c.lines = c.lines[2:] })
	e.write(c, 1500*time.Millisecond, "d")
	r, s := e.read(dir, next, nil)
	r.Expect("/0:d")
	if s.Stats().Gaps != 1 || r.Said("is not what it was") != 1 {
		t.Errorf("%+v\n%s", s.Stats(), r.Log)
	}
}

func TestLongLinesComeInFrames(t *testing.T) {
	for name, tty := range map[string]bool{"framed": false, "of a terminal": true} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			e.frame = 7
			c := e.run("aaa", "web", nil)
			c.tty = tty
			long := strings.Repeat("0123456789 ", 20)
			e.write(c, time.Second, long, "short", "exactly!", "1234567")
			r, s := e.read(t.TempDir(), nil, func(c *Config) { c.MaxLineBytes = 100 })
			r.Expect("/0:" + long[:100] + ",short,exactly!,1234567")
			if s.Stats().Cut != 1 {
				t.Errorf("%+v", s.Stats())
			}
			want := streamStdout
			if tty {
				want = streamTTY
			}
			if got := string(r.Last("/0").Headers[3].Value); got != want {
				t.Errorf("stream %q", got)
			}
		})
	}
}

func TestOnePassEnds(t *testing.T) {
	e := newEngine(t)
	a, b := e.run("aaa", "web", nil), e.run("bbb", "db", nil)
	e.write(a, -time.Hour, "old")
	e.write(a, time.Second, "a")
	e.write(b, time.Minute, "b", "later")
	e.setRunning(b, false)
	b.lines[1].at = base.Add(time.Hour)
	r, _ := e.read(t.TempDir(), nil, func(c *Config) {
		c.Follow, c.Since, c.Until = false, "", base.Add(30*time.Minute).Format(time.RFC3339)
	})
	if err := r.Ended(); err != nil {
		t.Fatal(err)
	}
	if got := sorted(r); got != "a,b,old" {
		t.Errorf("got %s", got)
	}
}

func TestOnlyOneStreamIsRead(t *testing.T) {
	e := newEngine(t)
	c := e.run("aaa", "web", nil)
	e.write(c, time.Second, "out")
	e.writeTo(c, 2, time.Second, "err")
	r, _ := e.read(t.TempDir(), nil, func(c *Config) { c.FollowStdout = false })
	r.Expect("/0:err")
}

func TestWhichContainersAreRead(t *testing.T) {
	enabled := map[string]string{"crowdsec.enable": "true", "crowdsec.labels.type": "nginx", "app": "x", "crowdsec.labels.": "no"}
	for name, c := range map[string]struct {
		edit   func(*Config)
		chosen bool
		labels string
	}{
		"by its name":               {func(c *Config) { c.ContainerName = []string{"web"} }, true, "map[a:b]"},
		"not by a part of the name": {func(c *Config) { c.ContainerName = []string{"we"} }, false, ""},
		"by an expression":          {func(c *Config) { c.ContainerNameRegexp = []string{"^w.b$"} }, true, "map[a:b]"},
		"by the id's beginning":     {func(c *Config) { c.ContainerID = []string{"843e"} }, true, "map[a:b]"},
		"by the id's expression":    {func(c *Config) { c.ContainerIDRegexp = []string{"^8.*d$"} }, true, "map[a:b]"},
		"by a label":                {func(c *Config) { c.ContainerLabels = map[string]string{"app": "x"} }, true, "map[a:b]"},
		"by any value of a label":   {func(c *Config) { c.ContainerLabels = map[string]string{"app": ""} }, true, "map[a:b]"},
		"not by another value":      {func(c *Config) { c.ContainerLabels = map[string]string{"app": "x", "b": ""} }, false, ""},
		"by its own labels":         {func(c *Config) { c.UseContainerLabels = true }, true, "map[a:b type:nginx]"},
		"not by others' labels": {func(c *Config) {
			c.UseContainerLabels, c.ContainerLabelPrefix = true, "sluice"
		}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := Default()
			config.Labels = map[string]string{"a": "b"}
			c.edit(&config)
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			labels, ok := config.chosen(&container{ID: "843ee92d", Names: []string{"/x/alias", "/web"}, Labels: enabled})
			if ok != c.chosen || ok && fmt.Sprint(labels) != c.labels {
				t.Errorf("chosen %v with %v", ok, labels)
			}
		})
	}
}

func TestAnOutageIsToldOnce(t *testing.T) {
	e := newEngine(t)
	c := e.run("aaa", "web", nil)
	e.write(c, time.Second, "a")
	r, s := e.read(t.TempDir(), nil, nil)
	r.Expect("/0:a")
	e.hush()
	pings, looks := e.asked("/_ping"), e.asked("/aaa/json")
	// Who asks once more has noticed.
	r.Eventually("both to notice", func() bool { return e.asked("/_ping") > pings+1 && e.asked("/aaa/json") > looks+1 })
	e.stop()
	failed := s.Stats().Errors
	r.Eventually("some more failures", func() bool { return s.Stats().Errors >= failed+5 })
	e.write(c, 2*time.Second, "b")
	e.start()
	r.Expect("/0:a,b")
	r.Eventually("the end of the trouble", func() bool { return r.Said("reading goes on") == 1 })
	if r.Said("reading is interrupted") != 1 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestAContainerWithoutALogIsLeftOut(t *testing.T) {
	e := newEngine(t)
	e.run("bbb", "mute", nil).noLog = true
	e.write(e.run("aaa", "web", nil), time.Second, "a")
	r, s := e.read(t.TempDir(), nil, nil)
	r.Expect("/0:a")
	lists := e.asked("/containers/json")
	r.Eventually("some more lists", func() bool { return e.asked("/containers/json") > lists+5 })
	if r.Said("a container is not read") != 1 || e.asked("/bbb/logs") != 1 || s.Stats().Errors != 0 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestBrokenAnswersAreTrouble(t *testing.T) {
	for name, text := range map[string]string{
		"no frame":             "HTTP/1.1 what is this\n",
		"a frame that is cut":  "\x01\x00\x00\x00\x00\x00\x00\x09abc",
		"a line without time":  "\x01\x00\x00\x00\x00\x00\x00\x0chello world\n",
		"an error of the host": "\x03\x00\x00\x00\x00\x00\x00\x05wrong",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			c := e.run("aaa", "web", nil)
			e.write(c, time.Second, "a")
			e.broken = []byte(text)
			r, s := e.read(t.TempDir(), nil, nil)
			r.Eventually("trouble", func() bool { return s.Stats().Errors > 1 })
			e.change(func() { e.broken = nil })
			r.Expect("/0:a")
		})
	}
}

func TestTheEngineIsReachedByTLS(t *testing.T) {
	files := tlstest.Make(t)
	e := newEngine(t)
	e.write(e.run("aaa", "web", nil), time.Second, "a")
	server := httptest.NewUnstartedServer(e.server.Config.Handler)
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer func() {
		server.CloseClientConnections()
		server.Close()
	}()
	r, _ := e.read(t.TempDir(), nil, func(c *Config) {
		c.DockerHost = "tcp://" + server.Listener.Addr().String()
		c.TLS = tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey, ServerName: "localhost"}
	})
	r.Expect("/0:a")
	r.Stop()
}

func TestMistakesName(t *testing.T) {
	for name, c := range map[string]struct{ yaml, says string }{
		"nothing chosen":              {"follow: true", "say which containers are read"},
		"an expression that is none":  {"container_name_regexp: ['(']", "container_name_regexp"},
		"an address that is none":     {"docker_host: /var/run/docker.sock\ncontainer_name: [a]", "docker_host"},
		"an address without a port":   {"docker_host: tcp://host\ncontainer_name: [a]", "docker_host"},
		"a time that is none":         {"since: soon\ncontainer_name: [a]", "since"},
		"until with follow":           {"until: 1h\ncontainer_name: [a]", "follow: false"},
		"neither of the streams":      {"follow_stdout: false\nfollow_stderr: false\ncontainer_name: [a]", "follow_stdout"},
		"a certificate without a key": {"tls: {cert_file: x}\ncontainer_name: [a]", "go together"},
		"no state":                    {"container_name: [a]", "journal.dir"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: docker\n" + c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sources.New(node, sources.Env{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}
