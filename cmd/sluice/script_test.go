package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected files of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": main})
}

// TestCommands runs the scripts of testdata/script: each is a conversation
// with the binary, with the files that it needs. $RULES is the folder of the
// starter rules, $SSH a log in which one address guesses passwords.
func TestCommands(t *testing.T) {
	rules, err := filepath.Abs(filepath.FromSlash("../../configs/rules"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := filepath.Abs(filepath.FromSlash("testdata/ssh.log"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           filepath.FromSlash("testdata/script"),
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RULES", filepath.ToSlash(rules))
			e.Setenv("SSH", log)
			e.Setenv("NO_COLOR", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit2":    exit2,
			"gzip":     compress,
			"keys":     keys,
			"field":    field,
			"longline": longLine,
			"hostile":  hostile,
			"waitfor":  waitFor,
			"post":     post,
		},
	})
}

// exit2 runs a command that is wrong usage: exit2 PROGRAM ARGUMENT....
func exit2(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		ts.Fatalf("exit code 2 was expected: %v", err)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output is not empty: %s", out)
	}
}

// compress writes a file's gzip: gzip FROM TO.
func compress(ts *testscript.TestScript, _ bool, args []string) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}

// keys checks the keys of a JSON object: keys FILE KEY....
func keys(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	var got []string
	for k := range object {
		got = append(got, k)
	}
	want := slices.Clone(args[1:])
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		ts.Fatalf("the keys are %v, not %v", got, want)
	}
}

// field checks values of a JSON object, or of each of several, one a line:
// field FILE KEY VALUE....
func field(ts *testscript.TestScript, _ bool, args []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var got []string
	for d.More() {
		var object map[string]any
		ts.Check(d.Decode(&object))
		got = append(got, fmt.Sprint(object[args[1]]))
	}
	if !slices.Equal(got, args[2:]) {
		ts.Fatalf("%s of %s is %q, not %q", args[1], args[0], got, args[2:])
	}
}

// longLine writes a file that begins with a line of so many bytes, and goes on
// with another file: longline FILE BYTES REST.
func longLine(ts *testscript.TestScript, _ bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[1], &n)
	ts.Check(err)
	text := strings.Repeat("a", n) + "!\n" + ts.ReadFile(args[2])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// hostile writes a file of lines that are no text, and then another file: hostile FILE REST.
func hostile(ts *testscript.TestScript, _ bool, args []string) {
	text := "\xff\xfe\xc3(\n\x00\x00\x00\n\n\r\n" +
		"2024-03-03T10:00:00+00:00 gate sshd[7]: Failed password for \xff\x00\x1b[2J from 192.0.2.99 port 1 ssh2\n" +
		ts.ReadFile(args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// post sends a file to the API at a socket, once that is listened at, as the
// bouncer of a key or, with "MACHINE:PASSWORD", as a machine: post SOCKET KEY PATH FILE.
func post(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // until it listens
			if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", ts.MkAbs(args[0])); err == nil {
				break
			}
		}
		return conn, err
	}}}
	send := func(path, body, header, value string) []byte {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://sluice"+path, strings.NewReader(body))
		ts.Check(err)
		req.Header.Set(header, value)
		res, err := client.Do(req)
		ts.Check(err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		ts.Check(err)
		if res.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s: %s", path, res.Status, text)
		}
		return text
	}
	header, value := "X-Api-Key", args[1]
	if name, password, ok := strings.Cut(args[1], ":"); ok {
		signIn, err := json.Marshal(map[string]string{"machine_id": name, "password": password})
		ts.Check(err)
		var signedIn struct{ Token string }
		ts.Check(json.Unmarshal(send("/v1/watchers/login", string(signIn), "User-Agent", "engine/v1"), &signedIn))
		header, value = "Authorization", "Bearer "+signedIn.Token
	}
	send(args[2], ts.ReadFile(args[3]), header, value)
}

// waitFor waits until a file is there and holds something: waitfor FILE.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
	}
	ts.Fatalf("%s does not come", args[0])
}
