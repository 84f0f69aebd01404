// Package s3 is the source of logs in a bucket of S3, or of a service that
// speaks its protocol: lines, JSON a line, or files shaped like CloudTrail's.
//
// It says what its objects are; how they are found, numbered, fetched and
// read is package objects'.
package s3
