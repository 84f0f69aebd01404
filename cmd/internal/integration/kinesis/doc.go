// Package kinesis tests the source kinesis on moto: sluice is killed and AWS is
// taken away while records come and shards are split and merged.
package kinesis
