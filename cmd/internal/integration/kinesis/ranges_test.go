//go:build integration

package kinesis

import (
	"math/big"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

func number(t *testing.T, text string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		t.Fatalf("%q is no hash key", text)
	}
	return n
}

// middle returns the hash key between two.
func middle(t *testing.T, low, high string) string {
	t.Helper()
	n := new(big.Int).Add(number(t, low), number(t, high))
	return n.Rsh(n, 1).String()
}

// adjacent finds two shards of which the one's range ends where the other's begins.
func adjacent(t *testing.T, shards []types.Shard) (left, right types.Shard) {
	t.Helper()
	for _, left = range shards {
		end := number(t, aws.ToString(left.HashKeyRange.EndingHashKey))
		for _, right = range shards {
			if new(big.Int).Add(end, big.NewInt(1)).Cmp(number(t, aws.ToString(right.HashKeyRange.StartingHashKey))) == 0 {
				return left, right
			}
		}
	}
	t.Fatal("no two shards are adjacent")
	return left, right
}
