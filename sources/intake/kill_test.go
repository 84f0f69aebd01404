package intake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

func verify(m *testing.M) { goleak.VerifyTestMain(m) }

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// childVariable makes the test binary be the process that is killed: it holds the journal's folder.
const childVariable = "SLUICE_TEST_INTAKE_CHILD"

// child puts records "0", "1", … for ever, behind the mark of those before, and
// says on standard output which are acknowledged.
func child() {
	c := intake.Default(intake.Journal)
	c.Journal.Dir, c.Journal.SegmentBytes, c.Journal.MaxBytes = os.Getenv(childVariable), 64<<10, 1<<40
	in, err := intake.New("in", "test", c, sources.Env{})
	if err == nil {
		out := bufio.NewWriterSize(os.Stdout, 1) // each line is a write
		err = in.Run(context.Background(), nil, (&sink{}).emit, func(ctx context.Context) error {
			n, _ := strconv.Atoi(in.Marks()["next"])
			for {
				e := entry("", strconv.Itoa(n), strconv.Itoa(n+1), strconv.Itoa(n+2))
				n += 3
				upTo := n
				e.Marks = map[string]string{"next": strconv.Itoa(n)}
				if err := in.Put(ctx, e, func(err error) {
					if err == nil {
						fmt.Fprintln(out, upTo)
						out.Flush()
					}
				}); err != nil {
					return err
				}
			}
		})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestWhatWasAcknowledgedOutlivesKills(t *testing.T) {
	kills := 15
	if testing.Short() {
		kills = 3
	}
	if os.Getenv("SLUICE_SOAK") != "" {
		kills = 300
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for range kills {
		acked := killed(t, dir, r.IntN(400))
		check(t, dir, acked)
	}
}

// killed runs a child, kills it once some more of its entries were
// acknowledged, and returns up to where it said that records are safe.
func killed(t *testing.T, dir string, entries int) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if acked, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if i == entries {
			must(t, cmd.Process.Kill())
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the child was not killed: %v", err)
	}
	return acked
}

// check reads the whole journal: each record once, in order, up to the mark,
// and that at or behind what was acknowledged.
func check(t *testing.T, dir string, acked int) {
	t.Helper()
	c := intake.Default(intake.Journal)
	c.Journal.Dir, c.Journal.SegmentBytes, c.Journal.MaxBytes = dir, 64<<10, 1<<40
	in, err := intake.New("in", "test", c, sources.Env{})
	must(t, err)
	next := 0
	var mark string
	must(t, in.Run(t.Context(), nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		defer b.Release()
		for _, r := range b.Records {
			if string(r.Value) != strconv.Itoa(next) || r.Offset != int64(next) {
				return fmt.Errorf("record %q at offset %d where %d is due", r.Value, r.Offset, next)
			}
			next++
		}
		return nil
	}, func(context.Context) error {
		mark = in.Marks()["next"]
		return nil
	}))
	must(t, in.Close())
	if mark != strconv.Itoa(next) || next < acked {
		t.Fatalf("%d records, mark %q, acknowledged up to %d", next, mark, acked)
	}
}

func BenchmarkPut(b *testing.B) {
	line := strings.Repeat("x", 200)
	for _, mode := range []string{intake.Direct, intake.Journal} {
		for _, records := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/entries of %d", mode, records), func(b *testing.B) {
				c := intake.Default(mode)
				c.Ack = intake.AckAccepted
				in, err := intake.New("in", "test", c, sources.Env{Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				e := entry("", strings.Split(strings.Repeat(line+" ", records-1)+line, " ")...)
				n := int64(0)
				emit := func(ctx context.Context, rb *pipeline.RecordBatch) error {
					n += int64(len(rb.Records))
					if n%100_000 < int64(len(rb.Records)) {
						_ = in.Commit(ctx, sources.Positions{rb.Partition: rb.Next})
					}
					if rb.Release != nil {
						rb.Release()
					}
					return nil
				}
				b.ReportAllocs()
				err = in.Run(context.Background(), nil, emit, func(ctx context.Context) error {
					for b.Loop() {
						if err := in.Put(ctx, e, nil); err != nil {
							return err
						}
					}
					return nil
				})
				if err := errors.Join(err, in.Close()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
	b.Run("journal/latency of one", func(b *testing.B) {
		in, err := intake.New("in", "test", intake.Default(intake.Journal), sources.Env{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		err = in.Run(context.Background(), nil, (&sink{}).emit, func(ctx context.Context) error {
			began := time.Now()
			n := 0
			for b.Loop() {
				if err := in.PutWait(ctx, entry("", line)); err != nil {
					return err
				}
				n++
			}
			b.ReportMetric(float64(time.Since(began).Microseconds())/float64(n), "µs/ack")
			return nil
		})
		if err := errors.Join(err, in.Close()); err != nil {
			b.Fatal(err)
		}
	})
}
