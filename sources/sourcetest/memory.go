package sourcetest

import (
	"runtime"
	"time"
)

// MemoryWhile returns by how many bytes the memory of the process, heap and
// stacks, grew at most while f ran.
func MemoryWhile(f func()) (grown int64) {
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	runtime.GC()
	before := inUse()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		select {
		case <-done:
			return max(grown, inUse()-before)
		case <-time.After(20 * time.Millisecond):
			grown = max(grown, inUse()-before)
		}
	}
}
