package simulation

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"sluice/pipeline/state"
)

var seedFlag = flag.Int64("seed", -1, "live through this seed alone, and tell what happens")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds is how many seeds a run lives through.
func seeds(t *testing.T) int {
	if text := os.Getenv("SLUICE_SEEDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SLUICE_SEEDS: %v", err)
		}
		return n
	}
	if testing.Short() || raceEnabled {
		return 25
	}
	return 150
}

// TestSimulation lives through seeds. Another number of seeds: SLUICE_SEEDS.
func TestSimulation(t *testing.T) {
	if *seedFlag >= 0 {
		testSeed(t, uint64(*seedFlag))
		return
	}
	for seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			testSeed(t, uint64(seed))
		})
	}
}

// testSeed lives through one seed, twice: once with all that can go wrong,
// and once without.
func testSeed(t *testing.T, seed uint64) {
	p := newPlan(seed)
	dir := t.TempDir()
	var got, want result
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p.uninterrupted(), dir, newDisk)
		w.runQuietly()
		w.checkSinks()
		want = w.result()
		if w.isFailed() {
			w.tell()
		}
	})
	if t.Failed() {
		return
	}
	disks := newDisk
	if p.real {
		h := newHost()
		defer h.close()
		disks = func(dir string) stateDisk {
			return &realDisk{disk: disk{held: make(map[string]string)}, host: h, dir: dir, dict: state.NewDictionary()}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, dir, disks)
		w.run()
		if !w.isFailed() {
			w.checkSinks()
			got = w.result()
			w.checkResult(got, want)
		}
		w.checkDisks()
		if w.isFailed() || *seedFlag >= 0 {
			w.tell()
		}
	})
}
