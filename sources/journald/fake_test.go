package journald

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/sources"
	"sluice/sources/sourcetest"
)

// fakeVariable makes the test binary a journalctl, whose journal is in this folder.
const fakeVariable = "SLUICE_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(fakeVariable); dir != "" && !strings.Contains(strings.Join(os.Args, " "), "-test.") {
		os.Exit(journalctl(dir, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// journalctl does what the source asks of the real one: it writes the entries
// of the file "journal" from a cursor on and follows. The file "fail" makes it
// fail; each "die" makes it end within the last entry that there is, once. So
// do "hide", which has it leave out that one's message, and "tear", with which it gives up the one before in the middle.
func journalctl(dir string, args []string) int {
	log, err := os.OpenFile(filepath.Join(dir, "calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(log, strings.Join(args, " "))
		log.Close()
	}
	if why, err := os.ReadFile(filepath.Join(dir, "fail")); err == nil {
		os.Stderr.Write(why)
		return 1
	}
	cursor := ""
	for _, a := range args {
		if c, ok := strings.CutPrefix(a, "--cursor="); ok {
			cursor = c
		}
	}
	at := 0
	for {
		text, _ := os.ReadFile(filepath.Join(dir, "journal"))
		entries := bytes.SplitAfter(text, []byte("\n\n"))
		entries = entries[:len(entries)-1]
		if cursor != "" {
			at = max(0, slices.IndexFunc(entries, func(e []byte) bool {
				return bytes.HasPrefix(e, []byte("__CURSOR="+cursor+"\n"))
			}))
			cursor = ""
		}
		if slices.Contains(args, "--lines=1") {
			at = max(0, len(entries)-1)
		}
		for ; at < len(entries); at++ {
			if at == len(entries)-1 && os.Remove(filepath.Join(dir, "die")) == nil {
				os.Stdout.Write(entries[at][:len(entries[at])-5])
				return 3
			}
			entry := entries[at]
			if at == len(entries)-1 && os.Remove(filepath.Join(dir, "hide")) == nil {
				entry = append(slices.Clone(entry[:bytes.LastIndex(entry, []byte("MESSAGE"))]), '\n')
			}
			if at == len(entries)-2 && os.Remove(filepath.Join(dir, "tear")) == nil {
				entry = entry[:bytes.Index(entry, []byte("MESSAGE"))]
			}
			os.Stdout.Write(entry)
		}
		if !slices.Contains(args, "--follow") {
			return 0
		}
		time.Sleep(2 * time.Millisecond) // it polls, as another process
	}
}

// journal is the folder of a fake journal.
type journal struct {
	t   *testing.T
	dir string
	n   int
}

func newJournal(t *testing.T) *journal {
	j := &journal{t: t, dir: t.TempDir()}
	t.Setenv(fakeVariable, j.dir)
	return j
}

func (j *journal) file(name, text string) {
	j.t.Helper()
	f, err := os.OpenFile(filepath.Join(j.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		j.t.Fatal(err)
	}
}

// add writes entries of messages.
func (j *journal) add(messages ...string) {
	j.t.Helper()
	var b strings.Builder
	for _, m := range messages {
		j.n++
		b.WriteString(export(j.n, "SYSLOG_IDENTIFIER", "sshd", "_PID", "7", "_HOSTNAME", "web", "_SYSTEMD_UNIT", "ssh.service", "MESSAGE", m))
	}
	j.file("journal", b.String())
}

func (j *journal) calls() []string {
	j.t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, "calls"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		j.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// export writes an entry of a number, with names and values of fields.
func export(n int, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "__CURSOR=s=1;i=%x\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=b\n", n, 1714564800000000+int64(n)*1000001, n)
	for i := 0; i < len(fields); i += 2 {
		name, value := fields[i], fields[i+1]
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == '\uFFFD' }) {
			b.WriteString(name + "\n")
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
			b.WriteString(value + "\n")
		} else {
			b.WriteString(name + "=" + value + "\n")
		}
	}
	return b.String() + "\n"
}

// start runs a source that reads the fake journal from its beginning, with its own journal in dir.
func (j *journal) start(dir string, from sources.Positions, edit func(*Config)) (*sourcetest.Run, *Source) {
	j.t.Helper()
	c := Default()
	c.Command, c.Start, c.Emit = os.Args[0], startBeginning, emitMessage
	if edit != nil {
		edit(&c)
	}
	env, log := sourcetest.Env(sourcetest.NewClock(), dir)
	s, err := New("journald", c, env)
	if err != nil {
		j.t.Fatal(err)
	}
	return sourcetest.Start(j.t, s, log, from), s
}
