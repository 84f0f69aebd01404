package detect

import (
	"math/rand/v2"
	"testing"
	"time"

	reference "golang.org/x/time/rate"
)

// limiterGap gives the gaps between events that find the corners: none, the
// smallest, around whole leak intervals, backward, over centuries.
func limiterGap(r *rand.Rand, leak time.Duration) time.Duration {
	switch r.IntN(10) {
	case 0:
		return 0
	case 1:
		return time.Duration(r.IntN(3))
	case 2:
		return leak
	case 3:
		return leak + time.Duration(r.IntN(5)-2)
	case 4:
		return -time.Duration(r.Int64N(int64(10 * leak)))
	case 5:
		return -time.Duration(r.Int64N(int64(time.Hour) * 24 * 400))
	case 6:
		return time.Duration(r.Int64N(int64(time.Hour) * 24 * 400))
	default:
		return time.Duration(r.Int64N(int64(leak)))
	}
}

func checkLimiter(t *testing.T, r *rand.Rand, leak time.Duration, burst, events int) {
	t.Helper()
	want := reference.NewLimiter(reference.Every(leak), burst)
	cfg := every(leak, burst)
	var got limiter
	got.fill(cfg)
	now := time.Date(r.IntN(2100), time.Month(1+r.IntN(12)), 1, 0, 0, 0, r.IntN(1e9), time.UTC)
	for i := range events {
		now = now.Add(limiterGap(r, leak))
		w, g := want.AllowN(now, 1), got.allow(cfg, instantOf(now))
		if w != g {
			t.Fatalf("leak %v burst %d event %d at %v: got %v, the reference says %v", leak, burst, i, now, g, w)
		}
		if w && want.TokensAt(now) != got.tokens {
			t.Fatalf("leak %v burst %d event %d at %v: %v tokens, the reference has %v",
				leak, burst, i, now, got.tokens, want.TokensAt(now))
		}
		if !w && r.IntN(2) == 0 { // most buckets die here; go on with the same one as often
			want = reference.NewLimiter(reference.Every(leak), burst)
			got.fill(cfg)
		}
	}
}

func TestLimiterEqualsReference(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 1))
	for range 1000 {
		leak := time.Duration(1 + r.Int64N(int64(10)<<r.IntN(36)))
		checkLimiter(t, r, leak, r.IntN(50), 200)
	}
}

func TestLimiterWithoutLeakAlwaysAllows(t *testing.T) {
	cfg := every(0, 0)
	var l limiter
	l.fill(cfg)
	for range 10 {
		if !l.allow(cfg, instant{}) {
			t.Fatal("refused")
		}
	}
}

func FuzzLimiterEqualsReference(f *testing.F) {
	f.Add(uint64(1), int64(time.Second), 5)
	f.Add(uint64(2), int64(3), 1)
	f.Add(uint64(3), int64(333333333), 40)
	f.Fuzz(func(t *testing.T, seed uint64, leak int64, burst int) {
		if leak <= 0 || leak > int64(time.Hour)*24*365 || burst < 0 || burst > 1e6 {
			t.Skip("outside of what a scenario may say")
		}
		checkLimiter(t, rand.New(rand.NewPCG(seed, 0)), time.Duration(leak), burst, 300)
	})
}

func TestInstantIsATime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		a := time.Unix(r.Int64N(1<<37)-1<<36, r.Int64N(1e9)).UTC()
		b := time.Unix(r.Int64N(1<<37)-1<<36, r.Int64N(1e9)).UTC()
		d := time.Duration(r.Uint64()) // negative as often
		if got := instantOf(a).time(); !got.Equal(a) {
			t.Fatalf("%v became %v", a, got)
		}
		if got := instantOf(a).sub(instantOf(b)); got != a.Sub(b) {
			t.Fatalf("%v - %v = %v, want %v", a, b, got, a.Sub(b))
		}
		if got := instantOf(a).add(d).time(); !got.Equal(a.Add(d)) {
			t.Fatalf("%v + %v = %v, want %v", a, d, got, a.Add(d))
		}
		if got := instantOf(a).after(instantOf(b)); got != a.After(b) {
			t.Fatalf("%v after %v: %v", a, b, got)
		}
	}
}
