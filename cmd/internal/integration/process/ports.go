package process

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
)

// Systems give outgoing connections ports from 32768 on, or from later ones.
const (
	lowestPort  = 15_000
	highestPort = 29_999
)

// given counts the ports that this process has given away or found taken: the next is
// another one, since the program that one was given to may not listen yet.
var given atomic.Uint32

// first is the process's own, so that two that run at a time hardly meet.
var first = rand.Uint32N(highestPort - lowestPort + 1)

// Ports returns n ports that nobody has, of TCP or of UDP, on any address. They are below
// those that the system gives to connections and to listeners that ask for any: one of those
// might be given away while the program that it is meant for is away or has not begun.
func Ports(n int) (ports []int, err error) {
	var held []io.Closer
	defer func() { // all at once, so that no port comes twice
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for tries := 0; len(ports) < n; tries++ {
		if tries == 100*n {
			return nil, fmt.Errorf("of the ports %d to %d hardly one is free", lowestPort, highestPort)
		}
		port := int(lowestPort + (first+given.Add(1))%(highestPort-lowestPort+1))
		place := fmt.Sprintf(":%d", port)
		stream, err := net.Listen("tcp", place)
		if err != nil {
			continue
		}
		held = append(held, stream)
		packets, err := net.ListenPacket("udp", place)
		if err != nil {
			continue
		}
		held = append(held, packets)
		ports = append(ports, port)
	}
	return ports, nil
}
