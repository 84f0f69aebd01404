// Package cloudtrail is the source of CloudTrail's log files in S3, of
// accounts and of organisations: each entry is a record, as it stands there.
//
// layout.go knows the keys of the files; how objects are found, numbered,
// fetched and read is package objects'.
package cloudtrail
