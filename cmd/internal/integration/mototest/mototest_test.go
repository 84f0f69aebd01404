//go:build integration

package mototest

import (
	"fmt"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestMotoIsTakenAwayAndComesBack asks through a proxy before, during and after an outage.
func TestMotoIsTakenAwayAndComesBack(t *testing.T) {
	server := Need(t).Start(t)
	proxy := NewProxy(t, server.Address)
	direct := kinesis.NewFromConfig(server.Config())
	through := kinesis.NewFromConfig(server.Config(), func(o *kinesis.Options) {
		o.BaseEndpoint = aws.String("http://" + proxy.Address)
		o.Retryer = aws.NopRetryer{}
	})
	if _, err := direct.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("logs"), ShardCount: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	for _, down := range []bool{false, true, false} {
		if down {
			proxy.Down()
		} else {
			proxy.Up()
		}
		out, err := through.ListStreams(t.Context(), &kinesis.ListStreamsInput{})
		if down != (err != nil) {
			t.Errorf("down: %v; the error is %v", down, err)
		}
		if !down && (len(out.StreamNames) != 1 || out.StreamNames[0] != "logs") {
			t.Errorf("streams %v", out.StreamNames)
		}
	}
}
