package webhook

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// metadata are addresses outside of the link-local ranges under which cloud
// providers serve credentials: Amazon's IPv6, Alibaba's, Oracle's.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
	}
}

// dialer returns the dialer of all requests. It looks at the address that a
// name has led to, so that no name or redirection gets around it.
func (c *Config) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: c.Timeout, KeepAlive: 30 * time.Second}
	if !c.AllowLinkLocal {
		d.Control = func(_, address string, _ syscall.RawConn) error { return checkAddress(address) }
	}
	return d
}

func checkAddress(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s is no address", address)
	}
	a := at.Addr().Unmap().WithZone("")
	forbidden := a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
	for _, m := range metadata() {
		forbidden = forbidden || a == m
	}
	if forbidden {
		return fmt.Errorf("%s is an address where machines keep credentials; set allow_link_local: true if it is meant", a)
	}
	return nil
}

func readSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}
