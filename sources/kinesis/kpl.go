package kinesis

import (
	"bytes"
	"crypto/md5"
	"math/big"

	"google.golang.org/protobuf/encoding/protowire"
)

// An aggregated record of the Kinesis Producer Library is a magic number, a
// protobuf message and the message's MD5 sum. The message is, as the library's
// aggregation-format page says:
//
//	message AggregatedRecord {
//	  repeated string partition_key_table     = 1;
//	  repeated string explicit_hash_key_table = 2;
//	  repeated Record records                 = 3;
//	}
//	message Record {
//	  required uint64 partition_key_index     = 1;
//	  optional uint64 explicit_hash_key_index = 2;
//	  required bytes  data                    = 3;
//	  repeated Tag    tags                    = 4;
//	}
const aggregateMagic = "\xf3\x89\x9a\xc2"

// Numbers of the fields.
const (
	fieldPartitionKeys    = 1
	fieldExplicitHashKeys = 2
	fieldRecords          = 3

	fieldPartitionKey    = 1
	fieldExplicitHashKey = 2
	fieldData            = 3
)

// userRecord is a record as a producer's user put it. It aliases what it was
// taken from.
type userRecord struct {
	key  []byte
	hash []byte // the explicit hash key in decimal digits, nil for the key's own
	data []byte
}

// deaggregate appends the records of an aggregated one to out. What only
// begins like one, or breaks the format anywhere, is none: then ok is false.
func deaggregate(value []byte, out []userRecord) (records []userRecord, ok bool) {
	message, found := bytes.CutPrefix(value, []byte(aggregateMagic))
	if !found || len(message) < md5.Size {
		return out, false
	}
	message, sum := message[:len(message)-md5.Size], message[len(message)-md5.Size:]
	if got := md5.Sum(message); !bytes.Equal(got[:], sum) {
		return out, false
	}
	tables, ok := aggregateTables(message)
	if !ok {
		return out, false
	}
	records = out
	ok = fields(message, func(number protowire.Number, value []byte, _ uint64) bool {
		if number != fieldRecords {
			return true
		}
		r, ok := tables.record(value)
		records = append(records, r)
		return ok
	})
	if !ok {
		return out, false
	}
	return records, true
}

// tables are the keys that the records of a message refer to by number.
type tables struct{ keys, hashes [][]byte }

func aggregateTables(message []byte) (t tables, ok bool) {
	ok = fields(message, func(number protowire.Number, value []byte, _ uint64) bool {
		switch number {
		case fieldPartitionKeys:
			t.keys = append(t.keys, value)
		case fieldExplicitHashKeys:
			t.hashes = append(t.hashes, value)
		}
		return true
	})
	return t, ok
}

func (t tables) record(message []byte) (r userRecord, ok bool) {
	key, data := false, false
	ok = fields(message, func(number protowire.Number, value []byte, n uint64) bool {
		switch {
		case number == fieldPartitionKey && value == nil:
			if n >= uint64(len(t.keys)) {
				return false
			}
			r.key, key = t.keys[n], true
		case number == fieldExplicitHashKey && value == nil:
			if n >= uint64(len(t.hashes)) {
				return false
			}
			r.hash = t.hashes[n]
		case number == fieldData && value != nil:
			r.data, data = value, true
		}
		return true
	})
	return r, ok && key && data
}

// fields calls each with every field of a message: the bytes of those that
// have a length, never nil, or the number of varints, with nil. It is false
// when the message is broken or each says so.
func fields(message []byte, each func(number protowire.Number, value []byte, n uint64) bool) bool {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return false
		}
		message = message[length:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.VarintType:
			n, length = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			if value, length = protowire.ConsumeBytes(message); value == nil {
				value = []byte{}
			}
		default:
			length = protowire.ConsumeFieldValue(number, kind, message)
		}
		if length < 0 || (kind == protowire.VarintType || kind == protowire.BytesType) && !each(number, value, n) {
			return false
		}
		message = message[length:]
	}
	return true
}

// hashRange is the range of hash keys that a shard holds, both ends included.
type hashRange struct{ low, high *big.Int }

// has tells whether a record belongs to the range: by its explicit hash key,
// or else by the MD5 sum of its key, as Kinesis deals records to shards.
func (h hashRange) has(r userRecord) bool {
	hash := new(big.Int)
	if r.hash != nil {
		if _, ok := hash.SetString(string(r.hash), 10); !ok {
			return true // no number: nothing says that it is foreign
		}
	} else {
		sum := md5.Sum(r.key)
		hash.SetBytes(sum[:])
	}
	return h.low.Cmp(hash) <= 0 && hash.Cmp(h.high) <= 0
}
