package detect

import (
	"syscall"
	"time"
)

// threadTime is the CPU time of this thread: a pause of one's own making,
// whatever else the machine does.
func threadTime() time.Duration {
	var u syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
