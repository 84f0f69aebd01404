package s3

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"sluice/sinks"
)

// encode writes the alerts of a partition as an object holds them. Those that
// cannot be written are left out of it and of the partition, with the reason in
// rejected. The same alerts give the same bytes.
func (c *Config) encode(p *partition, rejected *sinks.RejectedError) ([]byte, error) {
	if c.Objects == typeParquet {
		return c.encodeParquet(p, rejected)
	}
	var lines []byte
	kept := 0
	for i, a := range p.alerts {
		text, err := c.Format.Append(lines, a)
		if err != nil {
			reject(rejected, p.indexes[i], err)
			continue
		}
		lines = append(text, '\n')
		p.alerts[kept], p.indexes[kept] = a, p.indexes[i]
		kept++
	}
	p.alerts, p.indexes = p.alerts[:kept], p.indexes[:kept]
	return c.compress(lines)
}

// reject notes an alert that will never be delivered.
func reject(rejected *sinks.RejectedError, index int, why error) {
	rejected.Alerts = append(rejected.Alerts, index)
	if rejected.Reason == nil {
		rejected.Reason = why
	}
}

func (c *Config) compress(text []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch c.Compression {
	case compressGzip:
		w = gzip.NewWriter(&out)
	case compressZstd:
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		w = z
	default:
		return text, nil
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// contentType is the media type of an object. Compression is part of it, and
// no Content-Encoding, so that what fetches an object gets it as it is.
func (c *Config) contentType() string {
	switch {
	case c.Objects == typeParquet:
		return "application/vnd.apache.parquet"
	case c.Compression == compressGzip:
		return "application/gzip"
	case c.Compression == compressZstd:
		return "application/zstd"
	case c.Format.JSON():
		return "application/x-ndjson"
	}
	return "text/plain; charset=utf-8"
}
