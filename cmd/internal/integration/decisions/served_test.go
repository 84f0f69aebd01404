//go:build integration

// Package decisions measures a running sluice that holds a million decisions:
// its memory, and how fast it imports, streams, prints, looks up, ends and loads them.
//
//	go test -tags integration -run '^$' -bench . -benchtime 1x -timeout 20m ./cmd/internal/integration/decisions
//
// SLUICE_DECISIONS is another number of decisions.
package decisions

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// served is a sluice that serves decisions.
type served struct {
	*rig.Instance
	at     string // host:port
	binary string
	client *http.Client
}

// serve makes an instance that serves decisions; it does not run yet.
func serve(t testing.TB) *served {
	t.Helper()
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &served{at: fmt.Sprintf("127.0.0.1:%d", rig.Port(t)), binary: rig.Binary(t)}
	c := rig.Probing(map[string]any{"type": "file", "paths": []string{lines}, "follow": true})
	c["sinks"] = []any{map[string]any{"type": "local_api", "listen": []string{s.at}}}
	s.Instance = rig.New(t, "api", c)
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// start runs it, and returns how long it took until it answered.
func (s *served) start(t testing.TB) time.Duration {
	t.Helper()
	begin := time.Now()
	s.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for d := (&net.Dialer{}); ; {
		conn, err := d.DialContext(ctx, "tcp", s.at)
		if err == nil {
			_ = conn.Close()
			return time.Since(begin)
		}
		if ctx.Err() != nil || s.Ended() != nil {
			t.Fatal("sluice does not serve:", err, s.Ended())
		}
		if err := rig.Pause(ctx, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// sluice runs a command on the instance's configuration.
func (s *served) sluice(t testing.TB, stdin io.Reader, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), s.binary, append(args, "-c", s.ConfigFile())...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("sluice %v: %v\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// bouncer makes a bouncer and returns its key.
func (s *served) bouncer(t testing.TB, name string) string {
	t.Helper()
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(s.sluice(t, nil, "bouncers", "add", name, "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	return made.Key
}

// get asks as a bouncer, and returns the answer's status and body.
func (s *served) get(t testing.TB, key, path string, header ...string) (int, io.ReadCloser) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.at+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Body
}

// told is what a stream told, counted by reading it as a stream: the reader is
// to cost little beside the server.
type told struct{ added, removed int }

// stream asks for a stream of decisions and counts them.
func (s *served) stream(t testing.TB, key string, startup, compressed bool) told {
	t.Helper()
	var header []string
	if compressed {
		header = []string{"Accept-Encoding", "gzip"}
	}
	status, body := s.get(t, key, "/v1/decisions/stream?startup="+strconv.FormatBool(startup), header...)
	defer body.Close()
	in := io.Reader(body)
	if compressed {
		plain, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		in = plain
	}
	y, err := countStream(in)
	if err != nil || status != http.StatusOK {
		t.Fatalf("the stream was answered with %d: %v", status, err)
	}
	return y
}

// countStream counts the decisions of a stream, whose objects hold no others.
func countStream(in io.Reader) (y told, err error) {
	r := bufio.NewReaderSize(in, 1<<16)
	fresh := []byte(`],"new":[`)
	to := &y.removed
	for {
		part, err := r.ReadSlice('}')
		if bytes.Contains(part, fresh) {
			to = &y.added
		}
		if bytes.Contains(part, []byte(`"uuid":`)) {
			*to++
		}
		if err == io.EOF {
			return y, nil
		}
		if err != nil {
			return y, err
		}
	}
}

// verdict asks for an address, and returns the status.
func (s *served) verdict(t testing.TB, ip string) int {
	t.Helper()
	status, body := s.get(t, "", "/v1/verdict?ip="+ip)
	_, err := io.Copy(io.Discard, body)
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// memory is what a process holds, in MiB: now, and at most since forgetPeak.
type memory struct{ now, peak float64 }

func (s *served) memory(t testing.TB) memory {
	t.Helper()
	m, err := memoryOf(s.Process().PID())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// memoryOf returns the memory of a process, nothing of one that has just ended.
func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		for name, to := range map[string]*float64{"VmRSS:": &m.now, "VmHWM:": &m.peak} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				if err != nil {
					return m, err
				}
				*to = kib / 1024
			}
		}
	}
	return m, nil
}

// forgetPeak begins the peak anew.
func (s *served) forgetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Process().PID()), []byte("5"), 0o200); err != nil {
		t.Fatal(err)
	}
}

// disk is how much the state takes, in MiB of blocks: the store's files are
// made longer than what is in them.
func (s *served) disk(t testing.TB) float64 {
	t.Helper()
	size := 0.0
	err := filepath.WalkDir(s.State(), func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			size += blocks(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// address returns the nth of many addresses that lie far apart, from 128.0.0.0.
func address(n int) string {
	h := uint32(n)*2654435761 | 1<<31
	return net.IPv4(byte(h>>24), byte(h>>16), byte(h>>8), byte(h)).String()
}

// list writes n addresses from the nth on, a line each.
func list(from, n int) *bytes.Buffer {
	var out bytes.Buffer
	for i := range n {
		fmt.Fprintln(&out, address(from+i))
	}
	return &out
}
