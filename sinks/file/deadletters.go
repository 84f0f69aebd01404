package file

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
)

// DeadConfig says where dead letters are written. Start from DefaultDead.
type DeadConfig struct {
	// Path is the file. Its folder must be there. No sink may write the file, and no source may read it.
	Path string `yaml:"path"`
	// Fsync makes letters durable before they count as written.
	Fsync bool `yaml:"fsync"`
	// Mode is the permissions of a file that is created, in octal.
	Mode string `yaml:"mode"`
}

// DefaultDead returns the configuration of no file yet.
func DefaultDead() DeadConfig { return DeadConfig{Fsync: true, Mode: "0640"} }

// Validate checks the configuration. The folder of the path must be there.
func (c *DeadConfig) Validate() error {
	if c.Path == stdout {
		return component.Invalid("path", "dead letters cannot go to standard output; name a file")
	}
	full := c.full()
	return full.Validate()
}

func (c *DeadConfig) full() Config {
	full := Default()
	full.Path, full.Fsync, full.Mode = c.Path, c.Fsync, c.Mode
	return full
}

// DeadLetters writes dead letters to a file, one JSON object a line. Bytes
// that are no text are in base64, under value_base64 in place of value.
type DeadLetters struct{ sink *Sink }

// NewDeadLetters makes the writer. The file is opened when the first letter comes.
func NewDeadLetters(c DeadConfig, env sinks.Env) (*DeadLetters, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	sink, err := New("dead letters", c.full(), env)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{sink}, nil
}

// deadLine is a letter's line. Fields that say nothing are left out.
type deadLine struct {
	Kind      pipeline.DeadKind `json:"kind"`
	Reason    string            `json:"reason,omitempty"`
	Source    string            `json:"source"`
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Line      *int32            `json:"line,omitempty"`
	Time      string            `json:"time,omitempty"`
	Sink      string            `json:"sink,omitempty"`
	Size      int               `json:"size,omitempty"` // of a value that was cut
	text
	Key     *text        `json:"key,omitempty"`
	Headers []deadHeader `json:"headers,omitempty"`
}

type deadHeader struct {
	Name string `json:"name"`
	text
}

// text is bytes: as they are, or in base64 when they are not UTF-8.
type text struct {
	Value  *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

func newText(b []byte) text {
	if utf8.Valid(b) {
		s := string(b)
		return text{Value: &s}
	}
	return text{Base64: b}
}

// Write implements sinks.DeadLetters: the letters are one write.
func (d *DeadLetters) Write(_ context.Context, letters []pipeline.DeadLetter) error {
	return d.sink.writeLines(func(buf *bytes.Buffer) error {
		enc := json.NewEncoder(buf)
		enc.SetEscapeHTML(false)
		for i := range letters {
			if err := enc.Encode(newDeadLine(&letters[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

func newDeadLine(l *pipeline.DeadLetter) *deadLine {
	out := &deadLine{
		Kind: l.Kind, Reason: l.Reason, Sink: l.Sink, text: newText(l.Value),
		Source: l.Position.Source, Topic: l.Position.Topic, Partition: l.Position.ID, Offset: l.Position.Offset,
	}
	if l.Position.Line >= 0 {
		out.Line = &l.Position.Line
	}
	if !l.Time.IsZero() {
		out.Time = l.Time.UTC().Format(time.RFC3339Nano)
	}
	if l.Size > len(l.Value) {
		out.Size = l.Size
	}
	if len(l.Key) > 0 {
		key := newText(l.Key)
		out.Key = &key
	}
	for _, h := range l.Headers {
		out.Headers = append(out.Headers, deadHeader{h.Key, newText(h.Value)})
	}
	return out
}

// File implements sinks.FileWriter.
func (d *DeadLetters) File() string { return d.sink.File() }

// Reopen implements sinks.Reopener: the next letters open the path again.
func (d *DeadLetters) Reopen() error { return d.sink.Reopen() }

// Close implements sinks.DeadLetters.
func (d *DeadLetters) Close() error { return d.sink.Close() }
