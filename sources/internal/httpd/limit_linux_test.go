package httpd

import (
	"testing"

	"golang.org/x/sys/unix"
)

// raised makes sure that the process may have so many files open.
func raised(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Max < n {
		t.Skipf("%d open files are needed, and the system allows %d (%v)", n, limit.Max, err)
	}
}
