//go:build integration

package victorialogs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) {
	code := rig.Main(m)
	if dir, _ := built(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// program is the version that is built.
const program = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@v1.52.1"

// database is a VictoriaLogs.
type database struct {
	part    *rig.Part
	address string
	lines   int
}

// built returns where VictoriaLogs was built.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "sluice-victorialogs"); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "go", "install", program)
	install.Dir = dir // outside of this module
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %.300s", err, out)
	}
	return dir, nil
})

func newDatabase(t *testing.T) *database {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Skipf("skipped 1 part: VictoriaLogs cannot be built: %v", err)
	}
	dir := t.TempDir()
	d := &database{address: fmt.Sprintf("127.0.0.1:%d", rig.Port(t))}
	d.part = rig.Run(t, func() *exec.Cmd {
		return exec.Command(filepath.Join(bin, "victoria-logs"), "-storageDataPath", filepath.Join(dir, "data"), "-httpListenAddr", d.address, "-retentionPeriod", "7d")
	}, d.answers)
	return d
}

func (d *database) answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.address+"/health", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}

// produce writes n numbered lines of the present, by fives with one time.
func (d *database) produce(ctx context.Context, n int) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	var at time.Time
	for i := range n {
		if i%5 == 0 {
			at = time.Now()
		}
		if err := enc.Encode(map[string]string{
			"_time": at.UTC().Format(time.RFC3339Nano), "_msg": rig.Line(d.lines + i), "app": "probe", "host": fmt.Sprint("h", i%3),
		}); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.address+"/insert/jsonline?_stream_fields=app,host", &b)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode/100 != 2 {
		return fmt.Errorf("writing lines: %s: %s", res.Status, text)
	}
	d.lines += n
	return nil
}

func (d *database) mustProduce(t *testing.T, n int) {
	t.Helper()
	if err := d.produce(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func (d *database) source() map[string]any {
	return map[string]any{
		"type": "victorialogs", "url": "http://" + d.address, "query": "app:probe", "since": "1h", "limit": 130,
		"poll_interval": "200ms", "overlap": "5s", "backoff_min": "50ms", "backoff_max": "300ms",
	}
}

// TestKilledWhileLinesCome kills sluice again and again under load.
func TestKilledWhileLinesCome(t *testing.T) {
	d := newDatabase(t)
	in := rig.New(t, "one", rig.Probing(d.source()))
	kills := in.KillUnder(t, rig.Load{
		Kills: 6, Rounds: 10, Pause: 50 * time.Millisecond,
		Produce: func(ctx context.Context) error { return d.produce(ctx, 100) },
	})
	in.Drained(t, d.lines)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, d.lines)
	t.Logf("%d lines, %d kills", d.lines, kills)
}

// TestTheDatabaseGoesAway kills the database and starts it again in its folder.
func TestTheDatabaseGoesAway(t *testing.T) {
	d := newDatabase(t)
	in := rig.New(t, "one", rig.Probing(d.source()))
	d.mustProduce(t, 300)
	in.Start(t)
	in.Drained(t, 300)
	if err := rig.Pause(t.Context(), 6*time.Second); err != nil { // it syncs every five seconds
		t.Fatal(err)
	}
	d.part.Kill(t)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	d.part.Start(t)
	d.mustProduce(t, 300)
	in.Drained(t, 600)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, 600)
	if down, up := in.Said("reading is interrupted"), in.Said("reading goes on"); down != 1 || up != 1 {
		t.Errorf("it said %d times that reading is interrupted and %d times that it goes on", down, up)
	}
}
