//go:build integration

package s3sink

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sluice/cmd/internal/integration/mototest"
	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const bucket = "lake"

// lake is a bucket on moto, behind a proxy that can be taken away.
type lake struct {
	*mototest.Server
	proxy *mototest.Proxy
	store *s3.Client
}

func newLake(t *testing.T) *lake {
	t.Helper()
	server := mototest.Need(t).Start(t)
	l := &lake{
		Server: server, proxy: mototest.NewProxy(t, server.Address),
		store: s3.NewFromConfig(server.Config(), func(o *s3.Options) { o.UsePathStyle = true }),
	}
	_, err := l.store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket),
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	if err == nil { // so that an object that was put again with other bytes can be told
		_, err = l.store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucket),
			VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// sink is the configuration of a sink that puts under a prefix; the ids of
// alerts spread them over several objects a batch.
func (l *lake) sink(prefix string, more map[string]any) map[string]any {
	m := map[string]any{
		"name": prefix, "bucket": bucket, "path_style": true, "prefix": prefix + "/dt={{ .Date }}/hour={{ .Hour }}/part={{ if lt (trunc 1 .Alert.UUID) `6` }}a{{ else }}b{{ end }}/",
		"batch_alerts": 40, "batch_wait": "50ms", "max_attempts": 1,
	}
	for k, v := range more {
		m[k] = v
	}
	return l.Source("s3", l.proxy.Address, m)
}

// object is a version of one.
type object struct{ key, version, etag string }

// versions returns all that was ever put under a prefix.
func (l *lake) versions(t *testing.T, prefix string) (out []object) {
	t.Helper()
	pages := s3.NewListObjectVersionsPaginator(l.store, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), Prefix: aws.String(prefix + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			out = append(out, object{aws.ToString(v.Key), aws.ToString(v.VersionId), aws.ToString(v.ETag)})
		}
	}
	return out
}

// puts tells how many objects there are and how many puts made them; every put of a key must have had the same bytes.
func (l *lake) puts(t *testing.T, prefix string) (objects, puts int) {
	t.Helper()
	etags := make(map[string]string)
	versions := l.versions(t, prefix)
	for _, v := range versions {
		if first, ok := etags[v.key]; ok && first != v.etag {
			t.Errorf("%s was put with different bytes", v.key)
		}
		etags[v.key] = v.etag
	}
	return len(etags), len(versions)
}

// fetch writes the objects of a prefix that are not there yet into a folder, and returns how many there are.
func (l *lake) fetch(t *testing.T, prefix, dir string) int {
	t.Helper()
	n := 0
	pages := s3.NewListObjectsV2Paginator(l.store, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			n++
			path := filepath.Join(dir, aws.ToString(o.Key))
			if _, err := os.Stat(path); err == nil {
				continue
			}
			if err := l.download(t.Context(), aws.ToString(o.Key), path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

func (l *lake) download(ctx context.Context, key, path string) error {
	o, err := l.store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		return err
	}
	defer o.Body.Close()
	text, err := io.ReadAll(o.Body)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// ids counts alerts by their line's number and id.
type ids map[string]int

// repeats fails the test unless each of n lines has its alert, and returns how many alerts there are too many.
func (y ids) repeats(t *testing.T, what string, n int) int {
	t.Helper()
	lines, total := make(map[string]bool), 0
	for id, count := range y {
		line, _, _ := strings.Cut(id, " ")
		lines[line] = true
		total += count
	}
	if len(lines) != n || len(y) != n {
		t.Errorf("%s: %d lines made %d alerts about %d of them", what, n, len(y), len(lines))
	}
	return total - len(y)
}

// readLines reads gzipped objects of lines.
func readLines(t *testing.T, dir string) ids {
	t.Helper()
	out := make(ids)
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		r, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var a struct {
				UUID   string
				Source struct{ Value string }
			}
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				return err
			}
			out[a.Source.Value+" "+a.UUID]++
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// query has DuckDB count the alerts, through the partitions and the nested decisions.
const query = `
import duckdb, json, sys
rows = duckdb.sql("""
SELECT source_value, uuid, count(*)::INT
FROM read_parquet('%s/*/*/*/*.parquet', hive_partitioning = true)
WHERE dt = strftime(stop_at AT TIME ZONE 'UTC', '%%Y-%%m-%%d')::DATE AND hour::INT = hour(stop_at AT TIME ZONE 'UTC')
  AND scenario = 'test/each-line' AND len(decisions) = 1 AND decisions[1].type = 'ban' AND decisions[1].value = source_value
  AND decisions[1].until > stop_at AND len(events) = 1 AND list_contains([m.value FOR m IN events[1].meta], source_value)
GROUP BY ALL""").fetchall()
json.dump(rows, sys.stdout)
`

func readParquet(t *testing.T, python *rig.Python, dir string) ids {
	t.Helper()
	cmd := python.Command(t.TempDir(), "-c", fmt.Sprintf(query, dir))
	cmd.Env = append(cmd.Env, "TZ=UTC")
	var said strings.Builder
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("DuckDB: %v\n%s", err, said.String())
	}
	var rows [][]any
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	out := make(ids)
	for _, r := range rows {
		out[fmt.Sprint(r[0], " ", r[1])] = int(r[2].(float64))
	}
	return out
}

// TestKilledWhilePutting kills sluice at random moments, and now and then takes the service away.
func TestKilledWhilePutting(t *testing.T) {
	python := rig.NeedPython(t, "duckdb-2.0.1", "duckdb==2.0.1")
	l := newLake(t)
	p := rig.NewFeed(t, "lake", l.sink("lines", nil), l.sink("parquet", map[string]any{"objects": "parquet", "compression": "zstd"}))
	chance := rand.New(rand.NewPCG(rig.Seed(t), 3))
	kills := 12
	if rig.Soak() {
		kills = 100
	}
	for i := range kills {
		p.Write(t, 400)
		p.StartReady(t, "the state is loaded")
		if i%4 == 3 {
			l.proxy.Down()
		}
		if err := rig.Pause(t.Context(), 100*time.Millisecond+time.Duration(chance.IntN(900))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		p.Kill(t)
		l.proxy.Up()
	}
	p.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := 0
	for _, what := range []string{"lines", "parquet"} {
		dir := t.TempDir()
		var have ids
		err := rig.Poll(ctx, "all alerts to arrive as "+what, func() (bool, error) {
			if l.fetch(t, what, dir) == 0 {
				return false, p.Ended()
			}
			if what == "lines" {
				have = readLines(t, filepath.Join(dir, what))
			} else {
				have = readParquet(t, python, filepath.Join(dir, what))
			}
			return len(have) >= p.Lines, p.Ended()
		})
		if err != nil {
			t.Fatalf("%v: %d of %d are there", err, len(have), p.Lines)
		}
		repeats := have.repeats(t, what, p.Lines)
		objects, puts := l.puts(t, what)
		if repeats != 0 {
			t.Errorf("%s: %d alerts are in two objects", what, repeats)
		}
		again += puts - objects
		t.Logf("%s: %d kills; %d alerts in %d objects, %d repeated; %d puts", what, kills, p.Lines, objects, repeats, puts)
	}
	p.Stop(t)
	if again == 0 {
		t.Errorf("no object was put twice, so no kill was where it matters; %d kills are too few", kills)
	}
}

// TestObjectsAreNotSmall lets alerts trickle in, and expects those of one batch_wait to share an object.
func TestObjectsAreNotSmall(t *testing.T) {
	const wait = 2 * time.Second
	l := newLake(t)
	p := rig.NewFeed(t, "lake", l.sink("lines", map[string]any{"batch_alerts": 5000, "batch_wait": wait.String(), "prefix": "lines/dt={{ .Date }}/"}))
	p.StartReady(t, "the state is loaded")
	began, dir := time.Now(), t.TempDir()
	look := func() (objects int, have ids) {
		if objects = l.fetch(t, "lines", dir); objects > 0 {
			have = readLines(t, filepath.Join(dir, "lines"))
		}
		return objects, have
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "some of the alerts to arrive", func() (bool, error) {
		p.Write(t, 5)
		_, have := look()
		return len(have) >= 150, p.Ended()
	}); err != nil {
		t.Fatal(err)
	}
	p.Stop(t) // which does not wait for more
	took := time.Since(began)
	n, have := look()
	// One more may be put at the end, and one for another date.
	if repeats, most := have.repeats(t, "lines", len(have)), int(took/wait)+2; repeats != 0 || n > most {
		t.Errorf("%d alerts of %v are in %d objects, want %d at most, and %d are repeated", len(have), took, n, most, repeats)
	}
	t.Logf("%d of %d alerts over %v are in %d objects", len(have), p.Lines, took.Round(time.Millisecond), n)
}
