package decode

import (
	"strings"
	"testing"

	"sluice/pipeline"
)

func BenchmarkDecode(b *testing.B) {
	line := `192.0.2.1 - - [01/May/2024:12:30:00 +0000] "GET /a HTTP/1.1" 200 612 "-" "curl/8.5.0"`
	for _, c := range []struct {
		name   string
		config Config
		value  string
	}{
		{"raw", config(func(c *Config) { c.Type = "nginx" }), line},
		{"lines", config(func(c *Config) { c.Format = FormatLines }), strings.Repeat(line+"\n", 100)},
		{"filebeat", config(func(c *Config) { c.Preset = "filebeat"; c.Type = "nginx" }), filebeatLine},
	} {
		b.Run(c.name, func(b *testing.B) {
			d, err := Compile(c.config, pipeline.NewSchema())
			if err != nil {
				b.Fatal(err)
			}
			r, batch := d.NewReader(), record(c.value)
			b.SetBytes(int64(len(c.value)))
			b.ReportAllocs()
			for b.Loop() {
				drain(r, &batch)
			}
		})
	}
}
