//go:build integration

// Package cloudtrail tests the sources cloudtrail and s3 on moto's S3, SQS and STS.
package cloudtrail

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/mototest"
	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const bucket = "trail"

// cloud is a moto with a trail's bucket, and a queue that the bucket's objects are announced to.
type cloud struct {
	*mototest.Server
	t     *testing.T
	store *s3.Client
	queue *sqs.Client
	url   string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	server := mototest.Need(t).Start(t)
	c := &cloud{Server: server, t: t, queue: sqs.NewFromConfig(server.Config()),
		store: s3.NewFromConfig(server.Config(), func(o *s3.Options) { o.UsePathStyle = true })}
	ctx := t.Context()
	_, err := c.store.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket),
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := c.queue.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("trail-objects")})
	if err != nil {
		t.Fatal(err)
	}
	c.url = aws.ToString(q.QueueUrl)
	return c
}

// notify has the bucket announce its objects to the queue.
func (c *cloud) notify() {
	c.t.Helper()
	arn, err := c.queue.GetQueueAttributes(c.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &c.url, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.store.PutBucketNotificationConfiguration(c.t.Context(), &s3.PutBucketNotificationConfigurationInput{
		Bucket: aws.String(bucket), NotificationConfiguration: &s3types.NotificationConfiguration{
			QueueConfigurations: []s3types.QueueConfiguration{{QueueArn: aws.String(arn.Attributes["QueueArn"]), Events: []s3types.Event{"s3:ObjectCreated:*"}}},
		}})
	if err != nil {
		c.t.Fatal(err)
	}
}

// put writes objects, some at once.
func (c *cloud) put(objects map[string][]byte) {
	c.t.Helper()
	var all errgroup.Group
	all.SetLimit(4)
	for key, text := range objects {
		all.Go(func() error {
			_, err := c.store.PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(text)})
			return err
		})
	}
	if err := all.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

// send sends messages to the queue.
func (c *cloud) send(bodies ...string) {
	c.t.Helper()
	for i := 0; i < len(bodies); i += 10 {
		var entries []sqstypes.SendMessageBatchRequestEntry
		for j, b := range bodies[i:min(i+10, len(bodies))] {
			entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(j)), MessageBody: aws.String(b)})
		}
		if _, err := c.queue.SendMessageBatch(c.t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &c.url, Entries: entries}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// left returns how many messages the queue has, visible and hidden.
func (c *cloud) left() (visible, hidden int) {
	c.t.Helper()
	out, err := c.queue.GetQueueAttributes(c.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &c.url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil {
		c.t.Fatal(err)
	}
	visible, _ = strconv.Atoi(out.Attributes["ApproximateNumberOfMessages"])
	hidden, _ = strconv.Atoi(out.Attributes["ApproximateNumberOfMessagesNotVisible"])
	return visible, hidden
}

// source returns a source of the queue's objects, through an address.
func (c *cloud) source(address string, more map[string]any) map[string]any {
	m := map[string]any{"queue": c.url, "path_style": true, "visibility_timeout": "10s"}
	if address != c.Address { // moto names itself in the URL
		m["queue"] = "trail-objects"
	}
	for k, v := range more {
		m[k] = v
	}
	return c.Source("cloudtrail", address, m)
}

// closing is when the last of a thousand files tells of something that makes an alert.
var closing = began.Add(999 * 10 * time.Second).Format("2006-01-02T15:04:05")

// began is when the first of the files was delivered.
var began = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// file returns a file's key and text: entries of one account and region, with the
// numbers from first on. What they tell of is a fleet that is now and then attacked.
func file(i, first, entries int) (string, []byte) {
	account, region := []string{"111111111111", "222222222222"}[i%2], []string{"eu-west-1", "us-east-1"}[i/2%2]
	where := account
	if i%2 == 1 {
		where = "o-example/" + account
	}
	at := began.Add(time.Duration(i) * 10 * time.Second)
	var records []string
	for j := range entries {
		n := first + j
		e := map[string]any{
			"eventVersion": "1.08", "eventTime": at.Add(time.Duration(j) * time.Second).Format(time.RFC3339), "awsRegion": region,
			"userAgent": "aws-cli " + rig.Line(n), "eventID": fmt.Sprintf("%08d-0000-0000-0000-000000000000", n),
			"sourceIPAddress": fmt.Sprintf("203.0.113.%d", i/40%250), "recipientAccountId": account, "eventType": "AwsApiCall",
			"userIdentity": map[string]any{"type": "IAMUser", "arn": "arn:aws:iam::" + account + ":user/" + strconv.Itoa(i/10%20),
				"accountId": account, "userName": "u"},
			"requestParameters": nil, "responseElements": nil, "eventSource": "s3.amazonaws.com", "eventName": "GetObject",
		}
		switch {
		case i%40 < 6: // guessing a password
			e["eventName"], e["eventSource"] = "ConsoleLogin", "signin.amazonaws.com"
			e["responseElements"] = map[string]any{"ConsoleLogin": "Failure"}
			e["errorMessage"] = "Failed authentication"
			e["additionalEventData"] = map[string]any{"MFAUsed": "No"}
		case i%40 < 10: // looking around
			e["eventName"] = []string{"ListBuckets", "ListPolicies", "DescribeInstances", "GetCallerIdentity", "ListUserPolicies"}[n%5]
		case i%40 == 20 && j == 0, i == 999:
			e["userIdentity"] = map[string]any{"type": "Root", "arn": "arn:aws:iam::" + account + ":root", "accountId": account}
			e["eventName"] = "StopLogging"
			e["eventSource"] = "cloudtrail.amazonaws.com"
		}
		text, _ := json.Marshal(e) // of strings
		records = append(records, string(text))
	}
	key := fmt.Sprintf("AWSLogs/%s/CloudTrail/%s/%s/%s_CloudTrail_%s_%s_%06d.json.gz",
		where, region, at.Format("2006/01/02"), account, region, at.Format("20060102T1504Z"), i)
	return key, zipped(`{"Records":[` + strings.Join(records, ",") + `]}`)
}

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

// files returns n files of some entries each, and how many entries that are.
func files(n int) (objects map[string][]byte, entries int) {
	objects = make(map[string][]byte)
	for i := range n {
		key, text := file(i, entries, 1+i%5)
		objects[key] = text
		entries += 1 + i%5
	}
	return objects, entries
}

// announcement tells of objects in one of the shapes in which that is done.
func announcement(shape int, keys ...string) string {
	records := make([]string, len(keys))
	for i, key := range keys {
		records[i] = fmt.Sprintf(`{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"size":1}}}`, bucket, key)
	}
	direct := `{"Records":[` + strings.Join(records, ",") + `]}`
	envelope := func(s string) string {
		quoted, _ := json.Marshal(s) // a text
		return fmt.Sprintf(`{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":%s}`, quoted)
	}
	switch {
	case shape%4 == 1:
		return envelope(direct)
	case shape%4 == 2 && len(keys) == 1: // EventBridge tells of one object at a time
		return fmt.Sprintf(`{"detail-type":"Object Created","source":"aws.s3","time":"2024-05-01T12:00:00Z","detail":{"bucket":{"name":%q},"object":{"key":%q,"size":1}}}`, bucket, keys[0])
	case shape%4 == 3:
		list, _ := json.Marshal(keys) // of texts
		return envelope(fmt.Sprintf(`{"s3Bucket":%q,"s3ObjectKey":%s}`, bucket, list))
	}
	return direct
}

// until waits for something to hold: for minutes, since moto answers a thousand
// requests for objects in seconds, or in a minute where others keep the machine busy.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(5 * time.Minute)
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("waiting for %s took too long", what)
		}
		if err := rig.Pause(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}
