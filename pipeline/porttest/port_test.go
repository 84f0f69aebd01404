package porttest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestAServerGoesAndComesAtAPortThatIsKept(t *testing.T) {
	address := Keep(t)
	for range 3 {
		if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("with nobody there: %v", err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(server.Close(), client.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
