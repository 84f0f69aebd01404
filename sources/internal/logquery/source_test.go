package logquery

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func lines(n int) func(map[string][]string) bool {
	return func(l map[string][]string) bool { return len(l["/0"]) >= n }
}

// passes waits for some more whole passes.
func (d *database) passes(r *sourcetest.Run, n int) {
	d.t.Helper()
	at := d.asked()
	r.Eventually("more passes", func() bool { return d.asked() >= at+2*n })
}

func TestLinesAreReadAsTheyCome(t *testing.T) {
	d := newDatabase(t)
	d.add(-2*time.Hour, "too old")
	d.add(-time.Second, "a", "b")
	r, s := d.read(t.TempDir(), nil, nil)
	r.Wait("the first two", lines(2))
	d.clock.Move(3 * time.Second)
	d.add(2*time.Second, "c")
	d.add(-3*time.Second, "late")
	r.Wait("two more", lines(4))
	d.passes(r, 3)
	got := r.Lines()["/0"]
	slices.Sort(got[2:])
	if strings.Join(got, ",") != "a,b,c,late" {
		t.Errorf("got %q", got)
	}
	if st := s.Stats(); st.Records != 4 || st.Errors != 0 || st.Gaps != 0 {
		t.Errorf("%+v\n%s", st, r.Log)
	}
}

func TestLinesLaterThanTheOverlapAreMissed(t *testing.T) {
	d := newDatabase(t)
	d.add(-time.Second, "a")
	r, _ := d.read(t.TempDir(), nil, nil)
	r.Expect("/0:a")
	d.clock.Move(time.Minute)
	d.passes(r, 2)
	d.add(0, "too late")
	d.add(59*time.Second, "b")
	r.Wait("the next", lines(2))
	d.passes(r, 2)
	r.Expect("/0:a,b")
}

func TestALaterRunGoesOnWhereTheLastStood(t *testing.T) {
	d, dir := newDatabase(t), t.TempDir()
	d.add(-time.Second, "a", "a", "b")
	r, _ := d.read(dir, nil, nil)
	r.Expect("/0:a,a,b")
	next := r.Stop()
	d.add(-time.Second, "a") // one more that is equal to those that were read
	d.add(-2*time.Second, "late")
	r, _ = d.read(dir, next, nil)
	r.Expect("/0:late,a")
	next = r.Stop()
	r, _ = d.read(dir, next, nil)
	d.passes(r, 2)
	r.Expect()
}

func TestNowIsWrittenDown(t *testing.T) {
	d, dir := newDatabase(t), t.TempDir()
	edit := func(c *Config) { c.Since = "" }
	d.add(-time.Second, "before")
	r, s := d.read(dir, nil, edit)
	r.Eventually("the mark", func() bool { return s.intake.Marks()[fromMark] != "" })
	next := r.Stop()
	d.clock.Move(time.Minute)
	d.add(30*time.Second, "while away")
	r, _ = d.read(dir, next, edit)
	r.Expect("/0:while away")
}

// TestAnyDatabaseGivesEachLineOnce reads random lines with equal times and
// texts, in pages of all sizes, through stops, of databases that differ.
func TestAnyDatabaseGivesEachLineOnce(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			d, dir := newDatabase(t), t.TempDir()
			d.inclusive = random.IntN(2) == 0
			edit := func(c *Config) {
				c.Limit = 1 + random.IntN(7)
				c.Window = time.Duration(1+random.IntN(20)) * time.Second
			}
			want := make(map[string]int)
			got := make(map[string]int)
			total := 0
			var next sources.Positions
			for range 4 {
				for range random.IntN(40) {
					text := fmt.Sprint("line ", random.IntN(5))
					d.add(d.clock.Now().Sub(base)-time.Duration(random.IntN(9))*time.Second-1, text)
					want[text]++
					total++
				}
				r, s := d.read(dir, next, edit)
				missing := total
				for _, n := range got {
					missing -= n
				}
				r.Wait(fmt.Sprint(missing, " lines"), lines(missing))
				d.passes(r, 2)
				if s.Stats().Gaps > 0 {
					t.Errorf("a gap\n%s", r.Log)
				}
				next = r.Stop()
				for _, l := range r.Lines()["/0"] {
					got[l]++
				}
				d.clock.Move(time.Duration(random.IntN(8)) * time.Second)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestMoreLinesOfOneTimeThanAreGivenAtOnce(t *testing.T) {
	d := newDatabase(t)
	d.most = 20
	for i := range 30 {
		d.add(-time.Second, fmt.Sprint(i))
	}
	d.add(-time.Second+1, "behind")
	r, s := d.read(t.TempDir(), nil, func(c *Config) { c.Limit = 8 })
	r.Wait("what the database gives", lines(17))
	if got := r.Lines()["/0"]; got[len(got)-1] != "behind" || s.Stats().Gaps == 0 || r.Said("more lines have one time") == 0 || s.Stats().Errors != 0 {
		t.Errorf("got %q, %+v\n%s", got, s.Stats(), r.Log)
	}
}

func TestAWindowIsReadToItsEnd(t *testing.T) {
	d := newDatabase(t)
	d.add(-50*time.Minute, "a")
	d.add(-40*time.Minute, "b", "", "c")
	d.add(-time.Minute, "later")
	r, s := d.read(t.TempDir(), nil, func(c *Config) { c.Follow, c.Until, c.Window = false, "30m", 7*time.Minute })
	if err := r.Ended(); err != nil {
		t.Fatal(err)
	}
	r.Expect("/0:a,b,c")
	if s.Stats().Skipped != 1 {
		t.Errorf("%+v", s.Stats())
	}
}

func TestAnOutageIsToldOnce(t *testing.T) {
	d := newDatabase(t)
	d.notReady = true
	d.add(-time.Second, "a")
	r, s := d.read(t.TempDir(), nil, nil)
	r.Eventually("some failures", func() bool { return s.Stats().Errors >= 3 })
	d.set(func() { d.notReady = false })
	r.Expect("/0:a")
	d.set(func() { d.down = true })
	r.Eventually("more failures", func() bool { return s.Stats().Errors >= 6 })
	d.add(-time.Second, "b")
	d.set(func() { d.down = false })
	r.Expect("/0:a,b")
	if r.Said("reading is interrupted") != 2 || r.Said("reading goes on") != 2 || r.Said("503 Service Unavailable: try later") != 1 {
		t.Errorf("it said\n%s", r.Log)
	}
}

func TestLargeAnswersAreAskedForInPieces(t *testing.T) {
	d := newDatabase(t)
	long := strings.Repeat("x", 20<<10)
	for range 12 {
		d.add(-time.Second, long)
	}
	r, s := d.read(t.TempDir(), nil, func(c *Config) { c.MaxAnswerBytes, c.MaxLineBytes, c.Limit = 512<<10, 1<<10, 100 })
	r.Wait("all", lines(12))
	if st := s.Stats(); st.Cut != 12 || len(r.Lines()["/0"][0]) != 1<<10 {
		t.Errorf("%+v", st)
	}
	d = newDatabase(t)
	for i := range 12 {
		d.add(time.Duration(i-20)*time.Second, long)
	}
	r, _ = d.read(t.TempDir(), nil, func(c *Config) { c.MaxAnswerBytes = 128 << 10 })
	r.Wait("all by parts", lines(12))
}

func TestTheOverlapIsShortenedWhereThereIsTooMuch(t *testing.T) {
	d := newDatabase(t)
	for i := range 100 {
		d.add(-5*time.Second+time.Duration(i)*time.Millisecond, fmt.Sprint(i))
	}
	r, s := d.read(t.TempDir(), nil, func(c *Config) { c.Limit, c.MaxRemembered = 10, 20 })
	r.Wait("all", lines(100))
	d.passes(r, 2)
	if n := len(r.Lines()["/0"]); n != 100 || s.Stats().Gaps == 0 || r.Said("it is cut short") != 1 {
		t.Errorf("%d lines, %+v\n%s", n, s.Stats(), r.Log)
	}
	remembered := 0
	for mark, text := range s.intake.Marks() {
		if number, ok := strings.CutPrefix(mark, seenPrefix); ok {
			c, err := parseChunk(number, text)
			if err != nil {
				t.Fatal(err)
			}
			remembered += len(c.ids)
		}
	}
	if remembered > 40 {
		t.Errorf("%d lines are remembered", remembered)
	}
}

func TestHowTheDatabaseIsAsked(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"password": "from file\n", "token": "t0ken\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"by nobody":        {func(*Config) {}, "/db/query  1"},
		"by password":      {func(c *Config) { c.Auth = Auth{Username: "u", Password: "p"} }, "/db/query Basic dTpw 1"},
		"by password file": {func(c *Config) { c.Auth = Auth{Username: "u", PasswordFile: filepath.Join(dir, "password")} }, "/db/query Basic dTpmcm9tIGZpbGU= 1"},
		"by token":         {func(c *Config) { c.BearerToken = "t" }, "/db/query Bearer t 1"},
		"by token file":    {func(c *Config) { c.BearerTokenFile = filepath.Join(dir, "token") }, "/db/query Bearer t0ken 1"},
		"with headers": {func(c *Config) {
			c.Headers, c.NoReadyCheck = map[string]component.Secret{"x-test": "2", "Authorization": "Own"}, true
		}, "/db/query Own 2"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			d.add(-time.Second, "a")
			var noCheck bool
			r, _ := d.read(t.TempDir(), nil, func(config *Config) {
				c.edit(config)
				noCheck = config.NoReadyCheck
			})
			r.Expect("/0:a")
			d.mu.Lock()
			defer d.mu.Unlock()
			if (d.requests[0][:9] == "/db/ready") == noCheck || !slices.Contains(d.requests, c.want) {
				t.Errorf("requests %q, want %q", d.requests, c.want)
			}
		})
	}
}

func TestMistakesName(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Config)
		says string
	}{
		"no address":             {func(c *Config) { c.URL = "localhost:3100" }, "url"},
		"a user in the address":  {func(c *Config) { c.URL = "http://u:p@host" }, "set auth"},
		"a query in the address": {func(c *Config) { c.URL = "http://host?a=b" }, "not sent"},
		"no query":               {func(c *Config) { c.Query = " \n" }, "such as all"},
		"two ways to sign in":    {func(c *Config) { c.Auth.Username, c.BearerToken = "u", "t" }, "set one"},
		"no username":            {func(c *Config) { c.Auth.Password = "p" }, "auth.username"},
		"two passwords":          {func(c *Config) { c.Auth = Auth{"u", "p", "f"} }, "one of them"},
		"two tokens":             {func(c *Config) { c.BearerToken, c.BearerTokenFile = "t", "f" }, "one of them"},
		"a header that is none":  {func(c *Config) { c.Headers = map[string]component.Secret{"a b": "c"} }, "headers"},
		"a header twice":         {func(c *Config) { c.BearerToken, c.Headers = "t", map[string]component.Secret{"authorization": "c"} }, "headers"},
		"a time that is none":    {func(c *Config) { c.Since = "yesterday" }, "since"},
		"until with follow":      {func(c *Config) { c.Until = "1h" }, "follow: false"},
		"a window of no begin":   {func(c *Config) { c.Follow, c.Since = false, "" }, "say where to begin"},
		"too little to remember": {func(c *Config) { c.MaxRemembered = 10 }, "max_remembered"},
		"a certificate alone":    {func(c *Config) { c.TLS.CertFile = "x" }, "go together"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Default()
			config.URL, config.Query = "http://host", "all"
			c.edit(&config)
			if err := config.Validate("all"); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}

func FuzzChunk(f *testing.F) {
	c := chunk{number: 3, newest: 7, ids: []lineID{{1}, {2}}}
	f.Add("3", c.String())
	f.Fuzz(func(t *testing.T, number, text string) {
		c, err := parseChunk(number, text)
		if err != nil {
			return
		}
		again, err := parseChunk(number, c.String())
		if err != nil || again.newest != c.newest || !slices.Equal(again.ids, c.ids) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}
