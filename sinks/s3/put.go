package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// object is what is to be put.
type object struct {
	key       string
	body      []byte
	indexes   []int // of its alerts in the batch
	decisions int
}

// put puts an object. The service checks what it got by the sum of it, and
// answers once it is stored.
func (s *Sink) put(ctx context.Context, o *object) error {
	sum := md5.Sum(o.body)
	in := &s3.PutObjectInput{
		Bucket: aws.String(s.config.Bucket), Key: aws.String(o.key), Body: bytes.NewReader(o.body),
		ContentLength: aws.Int64(int64(len(o.body))), ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType: aws.String(s.config.contentType()), Metadata: map[string]string{"sluice-alerts": strconv.Itoa(len(o.indexes))},
		StorageClass: types.StorageClass(s.config.StorageClass), ServerSideEncryption: types.ServerSideEncryption(s.config.Encryption),
		ACL: types.ObjectCannedACL(s.config.ACL),
	}
	if s.config.KMSKeyID != "" {
		in.SSEKMSKeyId = aws.String(s.config.KMSKeyID)
	}
	if s.config.BucketOwner != "" {
		in.ExpectedBucketOwner = aws.String(s.config.BucketOwner)
	}
	if _, err := s.client.PutObject(ctx, in); err != nil {
		return fmt.Errorf("putting s3://%s/%s: %w", s.config.Bucket, o.key, explain(err))
	}
	return nil
}

// refused are the answers of S3 that are about one object, and will be the
// same again. All others are of the bucket, the rights or the load, and may change.
var refused = map[string]bool{
	"EntityTooLarge": true, "KeyTooLongError": true, "InvalidURI": true, "InvalidObjectName": true,
	"XMinioInvalidObjectName": true, "MetadataTooLarge": true, "InvalidDigest": true,
}

// final tells whether an object will never be taken.
func final(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) && refused[api.ErrorCode()] {
		return true
	}
	var response *awshttp.ResponseError
	return errors.As(err, &response) && response.HTTPStatusCode() == http.StatusRequestEntityTooLarge
}

// explain adds the remedy, where it is known.
func explain(err error) error {
	remedies := map[string]string{
		"NoSuchBucket":                 "create the bucket, or set bucket to one that is there",
		"AccessDenied":                 "allow s3:PutObject on the prefix, and kms:GenerateDataKey on its key",
		"PermanentRedirect":            "set region to the bucket's",
		"AuthorizationHeaderMalformed": "set region to the bucket's",
		"InvalidAccessKeyId":           "the access key is unknown",
		"SignatureDoesNotMatch":        "the secret access key is wrong, or something on the way changes requests",
		"RequestTimeTooSkewed":         "set this machine's clock",
	}
	var api smithy.APIError
	if errors.As(err, &api) && remedies[api.ErrorCode()] != "" {
		return fmt.Errorf("%w (%s)", err, remedies[api.ErrorCode()])
	}
	return err
}
