package objects

import (
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// The reasons for which an object, or a part of it, comes to nothing: a fixed
// set, for counters and dead letters.
const (
	reasonGone     = "the object is gone"
	reasonChanged  = "the object was changed after it was found"
	reasonDenied   = "access to the object is denied"
	reasonArchived = "the object is archived"
	reasonRefused  = "the object cannot be fetched"
	reasonPacked   = "the object cannot be unpacked"
	reasonFormat   = "the object is not of its format"
	reasonTooMuch  = "the object unpacks to more than is allowed"
	reasonTooMany  = "the object holds more records than can be numbered"
	reasonLong     = "a record is longer than is allowed"
	reasonNotice   = "a message of the queue names no object"
)

// flaw is why an object comes to nothing by its own fault.
type flaw struct {
	reason string
	err    error
	final  bool // it will be the same however often it is tried
}

// Error gives the reason and what was said of it.
func (f *flaw) Error() string { return f.reason + ": " + f.err.Error() }

// Unwrap returns what was said of it.
func (f *flaw) Unwrap() error { return f.err }

// passing are S3's refusals, by code, that are no fault of an object: of the
// credentials, the clocks, the bucket's name or region, or the load.
var passing = map[string]bool{
	"NoSuchBucket": true, "PermanentRedirect": true, "AuthorizationHeaderMalformed": true,
	"ExpiredToken": true, "ExpiredTokenException": true, "TokenRefreshRequired": true, "InvalidToken": true,
	"InvalidAccessKeyId": true, "SignatureDoesNotMatch": true, "RequestTimeTooSkewed": true, "RequestExpired": true,
	"AccountProblem": true, "NotSignedUp": true, "InvalidSecurity": true, "InvalidClientTokenId": true,
	"RequestTimeout": true, "SlowDown": true, "Throttling": true, "ThrottlingException": true,
	"RequestLimitExceeded": true, "TooManyRequestsException": true, "BandwidthLimitExceeded": true,
	"OperationAborted": true, "ServiceUnavailable": true, "InternalError": true,
}

// flawOf returns the flaw that S3's answer to a request for an object tells of,
// or nil where the trouble may pass, so that the request is to be made again.
func flawOf(err error) *flaw {
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	status := 0
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch {
	case passing[code] || code == "" || code == "UnknownError": // the latter of answers that are not S3's, as a proxy's
		return nil
	case code == "NoSuchKey" || code == "NoSuchVersion" || status == http.StatusNotFound:
		return &flaw{reason: reasonGone, err: err}
	case code == "PreconditionFailed" || status == http.StatusPreconditionFailed:
		return &flaw{reason: reasonChanged, err: err}
	case code == "InvalidObjectState":
		return &flaw{reason: reasonArchived, err: err}
	case code == "AccessDenied" || status == http.StatusForbidden:
		return &flaw{reason: reasonDenied, err: err}
	case status < 400 || status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests:
		return nil
	}
	return &flaw{reason: reasonRefused, err: err}
}
