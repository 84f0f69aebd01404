package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/sinks/format"
	"sluice/sinks/internal/templates"
)

// keyBytes is the length of the longest key that S3 takes.
const keyBytes = 1024

// partition is the alerts of a batch that share an object.
type partition struct {
	prefix  string
	at      time.Time // of the first alert
	alerts  []*pipeline.Alert
	indexes []int // of the alerts in the batch
}

// partitionData is what the template of the prefix knows.
type partitionData struct {
	Date, Hour string
	Time       time.Time
	Alert      *pipeline.Alert
}

func parsePrefix(text string, f format.Format) (*template.Template, error) {
	functions := templates.Functions(f)
	functions["segment"] = segment
	return templates.Parse("prefix", text, functions)
}

// tryPrefix runs the template on specimens.
func tryPrefix(t *template.Template) error {
	for _, a := range templates.Specimens() {
		if err := templates.Try(t, partitionData{Alert: a}); err != nil {
			return err
		}
	}
	return nil
}

// prefixOf returns what the key of an alert's object begins with, and the
// alert's time. The error will be the same however often it is tried.
func prefixOf(t *template.Template, a *pipeline.Alert) (string, time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, a.StopAt)
	if err != nil {
		return "", at, fmt.Errorf("stop_at is no time to partition by: %w", err)
	}
	at = at.UTC()
	var text strings.Builder
	if err := t.Execute(&text, partitionData{Date: at.Format("2006-01-02"), Hour: at.Format("15"), Time: at, Alert: a}); err != nil {
		return "", at, err
	}
	prefix := strings.TrimPrefix(text.String(), "/")
	return prefix, at, checkPrefix(prefix)
}

// checkPrefix refuses what S3, or what reads from it, does not take as a key.
func checkPrefix(prefix string) error {
	if !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("the prefix %q is no text; pass what may hold anything through segment", prefix)
	}
	for level := range strings.SplitSeq(prefix, "/") {
		if level == "." || level == ".." {
			return fmt.Errorf("the prefix %q has a level of dots; pass what may hold anything through segment", prefix)
		}
	}
	if len(prefix)+maxNameBytes > keyBytes {
		return errors.New("the key would be longer than 1024 bytes")
	}
	return nil
}

// segment writes a text as one level of a key: what is no letter, digit, or
// one of - _ . : is escaped by a percent sign and its bytes in hexadecimal, as Hive
// does with values of partitions. Dots alone, and nothing, are escaped too.
func segment(text string) string {
	if strings.Trim(text, ".") == "" {
		if text == "" {
			return "__HIVE_DEFAULT_PARTITION__" // as Hive calls no value
		}
		return strings.ReplaceAll(text, ".", "%2E")
	}
	var out strings.Builder
	for _, b := range []byte(text) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_', b == '.', b == ':':
			out.WriteByte(b)
		default:
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// maxNameBytes is the length of the longest that name returns.
const maxNameBytes = len("20060102T150405Z-") + 32 + len(".jsonl.zst")

// name returns what follows the prefix: it depends on the alerts' ids and on
// how they are written, so that a repeat has the same.
func (c *Config) name(p *partition) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%s\n", c.Objects, c.Format, c.Compression)
	for _, a := range p.alerts {
		fmt.Fprintln(hash, a.UUID)
	}
	return p.at.Format("20060102T150405Z-") + hex.EncodeToString(hash.Sum(nil)[:16]) + c.extension()
}

func (c *Config) extension() string {
	packed := map[string]string{compressGzip: ".gz", compressZstd: ".zst"}[c.Compression]
	switch {
	case c.Objects == typeParquet:
		return ".parquet"
	case c.Format.JSON():
		return ".jsonl" + packed
	}
	return ".log" + packed
}
