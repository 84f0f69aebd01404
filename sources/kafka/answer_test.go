package kafka

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/sources/kafka/recordbatch"
)

func protocolConn(c net.Conn) *protocol.Conn { return protocol.NewConn(c, "sluice") }

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// answerOf is an answer as another library writes it, with the partition asked for among others.
func answerOf(version int16, edit func(*kmsg.FetchResponse, *kmsg.FetchResponseTopicPartition)) []byte {
	aborted := []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 5, FirstOffset: 40}, {ProducerID: 6, FirstOffset: 41}}
	p := kmsg.FetchResponseTopicPartition{Partition: 3, HighWatermark: 50, LastStableOffset: 45, AbortedTransactions: aborted, PreferredReadReplica: -1, RecordBatches: []byte("records")}
	other := kmsg.FetchResponseTopicPartition{Partition: 2, HighWatermark: 9, AbortedTransactions: aborted[:1], RecordBatches: []byte("other")}
	res := kmsg.FetchResponse{Version: version, ThrottleMillis: 7}
	if edit != nil {
		edit(&res, &p)
	}
	res.Topics = append(res.Topics, kmsg.FetchResponseTopic{Topic: "before", Partitions: []kmsg.FetchResponseTopicPartition{other}},
		kmsg.FetchResponseTopic{Topic: "logs", Partitions: []kmsg.FetchResponseTopicPartition{other, p}})
	return res.AppendTo(nil)
}

func TestAnAnswerIsReadInEveryVersion(t *testing.T) {
	for version := int16(minFetchVersion); version <= maxFetchVersion; version++ {
		var a answer
		body := answerOf(version, nil)
		want := []recordbatch.AbortedTransaction{{ProducerID: 5, FirstOffset: 40}, {ProducerID: 6, FirstOffset: 41}}
		for range 2 { // the second time into what the first one left
			if err := a.parse(body, version, "logs", 3); err != nil || a.err != nil || a.high != 50 || a.stable != 45 ||
				a.end(true) != 45 || a.end(false) != 50 || !slices.Equal(a.aborted, want) || string(a.records) != "records" {
				t.Errorf("version %d: %+v, %v", version, a, err)
			}
		}
		for cut := range body {
			if err := a.parse(body[:cut], version, "logs", 3); err == nil {
				t.Errorf("version %d: %d of %d bytes are an answer", version, cut, len(body))
			}
		}
		if err := a.parse(body, version, "logs", 4); !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("version %d: another partition: %v", version, err)
		}
		failed := answerOf(version, func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) {
			p.ErrorCode, p.RecordBatches, p.AbortedTransactions = 6, nil, nil
		})
		if err := a.parse(failed, version, "logs", 3); err != nil || !errors.Is(a.err, kafka.NotLeaderForPartition) || len(a.aborted)+len(a.records) != 0 {
			t.Errorf("version %d: %+v, %v", version, a, err)
		}
	}
	var a answer
	whole := answerOf(11, func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) { r.ErrorCode = 70 })
	if err := a.parse(whole, 11, "logs", 3); !errors.Is(err, kafka.FetchSessionIDNotFound) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for version := int16(minFetchVersion); version <= maxFetchVersion; version++ {
		f.Add(answerOf(version, nil), version)
	}
	f.Fuzz(func(t *testing.T, body []byte, version int16) {
		var a answer
		err := a.parse(body, minFetchVersion+max(version%(maxFetchVersion-minFetchVersion+1), 0), "logs", 3)
		if err == nil && len(a.records)+16*len(a.aborted) > len(body) {
			t.Fatalf("%d bytes became %d and %d", len(body), len(a.records), len(a.aborted))
		}
	})
}
