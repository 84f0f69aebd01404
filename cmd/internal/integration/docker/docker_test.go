//go:build integration

package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// engine is Podman, with a folder of its own, and its API at a socket.
type engine struct {
	dir, podman, runtime string
	service              *rig.Part
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	busybox := rig.Need(t, "busybox-static", "busybox")
	dir, err := os.MkdirTemp("", "sluice") // Podman takes short paths only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &engine{dir: dir, podman: rig.Need(t, "podman", "podman"), runtime: rig.Need(t, "runc", "runc")}
	bin := filepath.Join(e.dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "busybox"), program, 0o755)
	}
	for _, name := range []string{"sh", "sleep"} {
		if err == nil {
			err = os.Symlink("busybox", filepath.Join(bin, name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// With the containers go their mounts, which the folder could not be removed with.
		if out, err := e.command(context.Background(), "rm", "--all", "--force", "--time", "0").CombinedOutput(); err != nil {
			t.Logf("removing the containers: %v: %s", err, out)
		}
	})
	if out, err := e.container(t, "trial", false, "true").CombinedOutput(); err != nil {
		t.Skipf("skipped 1 part: no container can run here: %v: %s", err, out)
	}
	e.service = rig.Run(t, func() *exec.Cmd {
		return e.command(context.Background(), "system", "service", "--time=0", "unix://"+e.socket())
	}, e.answers)
	return e
}

func (e *engine) socket() string { return filepath.Join(e.dir, "socket") }

func (e *engine) answers(ctx context.Context) error {
	return exec.CommandContext(ctx, e.podman, "--remote", "--url", "unix://"+e.socket(), "version").Run()
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, e.podman, append([]string{
		"--runtime", e.runtime, "--root", filepath.Join(e.dir, "storage"), "--runroot", filepath.Join(e.dir, "run"),
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}, args...)...)
}

// container returns the command that runs a container with a shell's script.
func (e *engine) container(t *testing.T, name string, detached bool, script string, more ...string) *exec.Cmd {
	args := []string{"run", "--name", name, "--network", "host", "--security-opt", "seccomp=unconfined", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--log-driver", "k8s-file"}
	if detached {
		args = append(args, "--detach")
	}
	args = append(args, more...)
	return e.command(t.Context(), append(args, "--rootfs", filepath.Join(e.dir, "rootfs"), "/bin/sh", "-c", script)...)
}

// produce runs a container that writes n numbered lines, to one stream and the other, a tenth of them at once.
func (e *engine) produce(t *testing.T, name string, from, n int, more ...string) {
	t.Helper()
	script := fmt.Sprintf("i=%d; while [ $i -lt %d ]; do echo \"probe n=$i\"; i=$((i+1)); echo \"probe n=$i\" >&2; i=$((i+1)); if [ $((i %% %d)) -lt 2 ]; then sleep 0.1; fi; done",
		from, from+n, n/10)
	if out, err := e.container(t, name, true, script, more...).CombinedOutput(); err != nil {
		t.Fatalf("running a container: %v: %s", err, out)
	}
}

// source is the configuration of sluice's source. It reads what containers wrote
// before it was first there, too, which is some time after the state is loaded.
func (e *engine) source() map[string]any {
	return map[string]any{
		"type": "docker", "docker_host": "unix://" + e.socket(), "container_name_regexp": []string{"^probe"}, "since": "1h",
		"check_interval": "300ms", "backoff_min": "50ms", "backoff_max": "300ms",
	}
}

// TestKilledWhileContainersWrite kills sluice again and again, and stops it in
// good order once, while containers come, write and end, one of them with a terminal.
func TestKilledWhileContainersWrite(t *testing.T) {
	e := newEngine(t)
	in := rig.New(t, "one", rig.Probing(e.source()))
	in.StartReady(t, "the state is loaded")
	const each = 400
	total := 0
	for i := range 5 {
		var more []string
		if i == 2 {
			more = []string{"--tty"}
		}
		e.produce(t, fmt.Sprint("probe", i), total, each, more...)
		total += each
		if err := rig.Pause(t.Context(), time.Duration(100+i*77)*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			in.Stop(t)
		} else {
			in.Kill(t)
		}
		in.StartReady(t, "the state is loaded")
	}
	in.Drained(t, total)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, total)
}

// TestTheEngineGoesAway kills the engine's service while a container writes, and starts it again.
func TestTheEngineGoesAway(t *testing.T) {
	e := newEngine(t)
	in := rig.New(t, "one", rig.Probing(e.source()))
	in.StartReady(t, "the state is loaded")
	e.produce(t, "probe", 0, 200)
	in.Drained(t, 100)
	e.service.Kill(t)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(e.socket()); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	e.service.Start(t)
	e.produce(t, "probe2", 200, 200)
	in.Drained(t, 400)
	in.WaitFor(t, "reading goes on")
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, 400)
	if down, up := in.Said("reading is interrupted"), in.Said("reading goes on"); down != 1 || up != 1 {
		t.Errorf("it said %d times that reading is interrupted and %d times that it goes on", down, up)
	}
}
