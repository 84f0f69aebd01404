// Package s3sink tests the sink s3 on moto's S3, and reads its Parquet with
// DuckDB: kill -9 while objects are put, and a service that goes away.
package s3sink
