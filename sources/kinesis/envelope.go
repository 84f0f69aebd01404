package kinesis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
)

// mostUnpacked bounds an envelope, decompressed. CloudWatch sends 1 MB at most, packed.
const mostUnpacked = 64 << 20

// envelope is what CloudWatch Logs sends to the stream of a subscription,
// packed by gzip.
type envelope struct {
	MessageType string     `json:"messageType"`
	LogGroup    string     `json:"logGroup"`
	LogStream   string     `json:"logStream"`
	LogEvents   []logEvent `json:"logEvents"`
}

type logEvent struct {
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"` // milliseconds
	Message   string `json:"message"`
}

// The kinds of messages: logs, and one that says that the subscription is there.
const (
	dataMessage    = "DATA_MESSAGE"
	controlMessage = "CONTROL_MESSAGE"
)

// openEnvelope unpacks an envelope. The error says why a record is none.
func openEnvelope(value []byte) (*envelope, error) {
	z, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, fmt.Errorf("it is not packed by gzip: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, mostUnpacked+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpacking it: %w", err)
	case len(text) > mostUnpacked:
		return nil, fmt.Errorf("it is more than %d MiB, unpacked", mostUnpacked>>20)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("it is no JSON of CloudWatch Logs: %w", err)
	}
	if e.MessageType != dataMessage && e.MessageType != controlMessage {
		return nil, errors.New("it has no messageType of CloudWatch Logs")
	}
	return &e, nil
}

// time is when the event happened, or was received where that is unknown.
func (e *logEvent) time(received time.Time) time.Time {
	if e.Timestamp <= 0 {
		return received
	}
	return time.UnixMilli(e.Timestamp).UTC()
}
