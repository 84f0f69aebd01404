package journald

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end journalctl when Sluice is killed: it would
// notice by itself only when the next entry comes.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
