//go:build !linux

package httpd

import "testing"

func raised(t *testing.T, n uint64) {
	t.Helper()
	t.Skipf("%d connections from addresses 127.0.1.* need Linux", n)
}
