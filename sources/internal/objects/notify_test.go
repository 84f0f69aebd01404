package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	direct = `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-west-1","eventTime":"2024-05-01T12:00:00.123Z",
		"eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0","bucket":{"name":"logs","arn":"arn:aws:s3:::logs"},
		"object":{"key":"a+b/%C3%A9%2B.gz","size":42,"eTag":"e1","versionId":"v1","sequencer":"00"}}}]}`
	bridge = `{"version":"0","id":"1","detail-type":"Object Created","source":"aws.s3","account":"1","time":"2024-05-01T12:00:00Z","region":"eu-west-1",
		"detail":{"version":"0","bucket":{"name":"logs"},"object":{"key":"a+b/é+.gz","size":42,"etag":"e1","version-id":"v1","sequencer":"00"},"reason":"PutObject"}}`
	trail = `{"s3Bucket":"logs","s3ObjectKey":["AWSLogs/1/a.json.gz","AWSLogs/1/b.json.gz"]}`
	probe = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2024-05-01T12:00:00.000Z","Bucket":"logs"}`
)

// inSNS wraps a message as a topic does for its queues.
func inSNS(text string) string {
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`{"Type":"Notification","MessageId":"1","TopicArn":"arn","Subject":"s","Message":%s,"Timestamp":"2024-05-01T12:00:00.000Z"}`, quoted)
}

func event(name, key string) string {
	return fmt.Sprintf(`{"eventSource":"aws:s3","eventName":%q,"s3":{"bucket":{"name":"b"},"object":{"key":%q,"size":1}}}`, name, key)
}

func TestNoticesOfAllShapes(t *testing.T) {
	said := fmt.Sprintf("s3://logs/a b/é+.gz v1 e1 42 %d", time.Date(2024, 5, 1, 12, 0, 0, 123e6, time.UTC).UnixMilli())
	bridged := strings.Replace(strings.Replace(said, "a b", "a+b", 1), "123", "000", 1)
	for _, c := range []struct {
		name, body string
		want       []string
		ignored    int
		bad        bool
	}{
		{name: "S3's own, its key as in a URL", body: direct, want: []string{said}},
		{name: "through SNS", body: inSNS(direct), want: []string{said}},
		{name: "through EventBridge, its key as it is", body: bridge, want: []string{bridged}},
		{name: "through EventBridge and SNS", body: inSNS(bridge), want: []string{bridged}},
		{name: "through SNS twice", body: inSNS(inSNS(direct)), want: []string{said}},
		{name: "through SNS without end", body: inSNS(inSNS(inSNS(direct))), bad: true},
		{name: "CloudTrail's own", body: inSNS(trail), want: []string{"s3://logs/AWSLogs/1/a.json.gz   0 0", "s3://logs/AWSLogs/1/b.json.gz   0 0"}},
		{name: "a test", body: probe, ignored: 1},
		{name: "a test through SNS", body: inSNS(probe), ignored: 1},
		{name: "a subscription to confirm", body: `{"Type":"SubscriptionConfirmation","Message":"x"}`, ignored: 1},
		{name: "several records, deletions and folders among them",
			body: `{"Records":[` + event("ObjectCreated:Copy", "a") + `,` + event("ObjectRemoved:Delete", "b") + `,` +
				event("ObjectCreated:CompleteMultipartUpload", "c") + `,` + event("s3:ObjectCreated:Put", "d") + `]}`,
			want: []string{"s3://b/a   1 0", "s3://b/c   1 0", "s3://b/d   1 0"}, ignored: 1},
		{name: "no records", body: `{"Records":[]}`},
		{name: "a deletion through EventBridge", body: strings.Replace(bridge, "Object Created", "Object Deleted", 1), ignored: 1},
		{name: "a folder", body: strings.Replace(strings.Replace(bridge, "a+b/é+.gz", "a/", 1), "42", "0", 1), ignored: 1},
		{name: "another service's records", body: `{"Records":[{"eventSource":"aws:dynamodb"}]}`, bad: true},
		{name: "a key that is no URL's", body: `{"Records":[` + event("ObjectCreated:Put", "%zz") + `]}`, bad: true},
		{name: "no key", body: `{"Records":[` + event("ObjectCreated:Put", "") + `]}`, bad: true},
		{name: "a key that is no UTF-8", body: `{"Records":[` + event("ObjectCreated:Put", "%ff") + `]}`, bad: true},
		{name: "no JSON", body: "hello", bad: true},
		{name: "other JSON", body: `{"hello":1}`, bad: true},
		{name: "nothing", body: "", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := DecodeNotice(c.body)
			if (err != nil) != c.bad || err != nil && !errors.Is(err, errNotice) {
				t.Fatalf("error %v", err)
			}
			var got []string
			for _, r := range n.Refs {
				got = append(got, fmt.Sprint(r.String(), " ", r.Version, " ", r.ETag, " ", r.Size, " ", r.Modified))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) || n.Ignored != c.ignored {
				t.Errorf("objects %q, ignored %d\nwant    %q, %d", got, n.Ignored, c.want, c.ignored)
			}
		})
	}
}

func FuzzDecodeNotice(f *testing.F) {
	for _, s := range []string{direct, bridge, trail, probe, inSNS(direct), inSNS(trail), `{"Records":[{}]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		n, err := DecodeNotice(body)
		if err != nil {
			if !errors.Is(err, errNotice) || len(n.Refs) > 0 {
				t.Fatalf("%d objects and the error %v", len(n.Refs), err)
			}
			return
		}
		for _, r := range n.Refs {
			if r.Bucket == "" || r.Key == "" || r.Size < 0 {
				t.Fatalf("the reference %+v", r)
			}
			text, err := r.append(nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := parseRef(text)
			if err != nil {
				t.Fatalf("%s is not read back: %v", text, err)
			}
			if back != r {
				t.Fatalf("the reference %+v became %+v", r, back)
			}
		}
	})
}
