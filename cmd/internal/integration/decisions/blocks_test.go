//go:build integration

package decisions

import "syscall"

// blocks returns how much of a disk a file takes, in MiB, 0 when it is gone.
func blocks(path string) float64 {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0
	}
	return float64(st.Blocks) * 512 / (1 << 20)
}
