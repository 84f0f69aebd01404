package sourcetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// Port returns a port of 127.0.0.1 for a server that the test ends and starts
// again, or never starts. It is none of those that systems give to connections and
// to listeners that ask for any, where there are others: so nobody gets it while the server is
// away, and who dials it then does not by chance reach himself.
func Port(t testing.TB) int {
	t.Helper()
	const lowest = 10_000
	low, high := 32_768, 0
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &low, &high) // else it is as usual
	}
	for range 100 {
		port := 0
		if low > lowest {
			port = lowest + rand.IntN(low-lowest)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}
