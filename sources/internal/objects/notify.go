package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Notice is what a message of the queue says.
type Notice struct {
	// Refs are the objects that were written.
	Refs []Ref
	// Ignored is how many things it says that are no new object: a deletion, a test.
	Ignored int
}

// errNotice is what DecodeNotice returns for a message that is of none of the shapes.
var errNotice = errors.New("the message is no notification of S3 that is known here")

// maxEnvelopes is how deep notifications may be wrapped: SNS in SNS is as far as AWS goes.
const maxEnvelopes = 3

// message is what is read of a message, whatever its shape.
type message struct {
	// S3's own notification.
	Records []s3Record
	Event   string // s3:TestEvent

	// SNS's envelope.
	Type    string
	Message *string

	// EventBridge's.
	Source     string
	DetailType string `json:"detail-type"`
	Time       time.Time
	Detail     *bridgeDetail

	// CloudTrail's own, to its SNS topic.
	Bucket string   `json:"s3Bucket"`
	Keys   []string `json:"s3ObjectKey"`
}

type s3Record struct {
	EventSource string
	EventName   string
	EventTime   time.Time
	S3          struct {
		Bucket struct{ Name string }
		Object struct {
			Key       string // as in a URL's query
			Size      int64
			ETag      string
			VersionID string `json:"versionId"`
		}
	}
}

type bridgeDetail struct {
	Bucket struct{ Name string }
	Object struct {
		Key       string // as it is
		Size      int64
		ETag      string
		VersionID string `json:"version-id"`
	}
}

// DecodeNotice reads a message of the queue. S3 sends it directly, through an
// SNS topic, with its envelope or raw, or through EventBridge; CloudTrail
// announces its files to a topic in a shape of its own.
func DecodeNotice(body string) (Notice, error) {
	return decodeNotice(body, maxEnvelopes)
}

func decodeNotice(body string, envelopes int) (Notice, error) {
	var m message
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return Notice{}, fmt.Errorf("%w: %w", errNotice, err)
	}
	switch {
	case m.Records != nil:
		return m.s3()
	case m.Event == "s3:TestEvent":
		return Notice{Ignored: 1}, nil
	case m.Type == "Notification" && m.Message != nil:
		if envelopes == 1 {
			return Notice{}, fmt.Errorf("%w: it is wrapped too often", errNotice)
		}
		return decodeNotice(*m.Message, envelopes-1)
	case m.Type == "SubscriptionConfirmation" || m.Type == "UnsubscribeConfirmation":
		return Notice{Ignored: 1}, nil
	case m.Source == "aws.s3" && m.Detail != nil:
		return m.bridge()
	case m.Bucket != "" && m.Keys != nil:
		return m.trail()
	}
	return Notice{}, errNotice
}

func (m *message) s3() (Notice, error) {
	var n Notice
	for i := range m.Records {
		r := &m.Records[i]
		if r.EventSource != "aws:s3" {
			return Notice{}, fmt.Errorf("%w: a record comes from %q", errNotice, r.EventSource)
		}
		// AWS sends ObjectCreated:Put; the s3: before it stands in configurations, and in copies of S3.
		if !strings.HasPrefix(strings.TrimPrefix(r.EventName, "s3:"), "ObjectCreated:") {
			n.Ignored++
			continue
		}
		key, err := url.QueryUnescape(r.S3.Object.Key)
		if err != nil {
			return Notice{}, fmt.Errorf("%w: the key %q: %w", errNotice, r.S3.Object.Key, err)
		}
		o := &r.S3.Object
		if err := n.add(r.S3.Bucket.Name, key, o.VersionID, o.ETag, o.Size, r.EventTime); err != nil {
			return Notice{}, err
		}
	}
	return n, nil
}

func (m *message) bridge() (Notice, error) {
	if m.DetailType != "Object Created" {
		return Notice{Ignored: 1}, nil
	}
	var n Notice
	o := &m.Detail.Object
	return n, n.add(m.Detail.Bucket.Name, o.Key, o.VersionID, o.ETag, o.Size, m.Time)
}

func (m *message) trail() (Notice, error) {
	var n Notice
	for _, key := range m.Keys {
		if err := n.add(m.Bucket, key, "", "", 0, time.Time{}); err != nil {
			return Notice{}, err
		}
	}
	return n, nil
}

func (n *Notice) add(bucket, key, version, etag string, size int64, at time.Time) error {
	if bucket == "" || key == "" {
		return fmt.Errorf("%w: it names no bucket or no key", errNotice)
	}
	if !utf8.ValidString(bucket + key + version + etag) { // S3's are
		return fmt.Errorf("%w: it names the key %q, which is no UTF-8", errNotice, key)
	}
	if strings.HasSuffix(key, "/") && size == 0 { // a folder, as consoles make them
		n.Ignored++
		return nil
	}
	if version == "null" { // what was written before a bucket had versions
		version = ""
	}
	r := Ref{Bucket: bucket, Key: key, Version: version, ETag: strings.Trim(etag, `"`), Size: max(0, size)}
	if !at.IsZero() {
		r.Modified = at.UnixMilli()
	}
	n.Refs = append(n.Refs, r)
	return nil
}
