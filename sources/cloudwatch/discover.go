package cloudwatch

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"golang.org/x/sync/errgroup"

	"sluice/sources"
	"sluice/sources/intake"
)

// Keys of the intake's marks: "from/GROUP" is the place to go on from, in
// milliseconds, "seen/NUMBER/GROUP" a chunk of ids, "since" when the source ran
// for the first time.
const (
	sinceKey   = "since"
	fromPrefix = "from/"
	seenPrefix = "seen/"
)

func seenKey(group string, number int) string {
	return seenPrefix + strconv.Itoa(number) + "/" + group
}

// place is how far a group was read by earlier runs.
type place struct {
	from  int64
	known bool // it was read before
	seen  *seen
}

// supervisor finds the groups and starts their readers. Its fields are its own
// goroutine's, but for slots and pace, which all readers share.
type supervisor struct {
	*Source
	client client
	share  sources.Share
	slots  chan struct{} // as many as readers may hold an answer
	pace   pace

	since   int64 // when the source ran for the first time, in milliseconds; 0 is now
	places  map[string]*place
	running map[string]bool
	ended   chan string // groups whose reader has ended
}

func newSupervisor(s *Source, c client, share sources.Share) *supervisor {
	return &supervisor{
		Source: s, client: c, share: share, slots: make(chan struct{}, s.config.Readers),
		pace:   pace{clock: s.clock, gap: time.Duration(float64(time.Second) / s.config.RequestsPerSecond)},
		places: make(map[string]*place), running: make(map[string]bool), ended: make(chan string),
	}
}

// place returns what is known of a group.
func (v *supervisor) place(group string) *place {
	p := v.places[group]
	if p == nil {
		p = &place{seen: newSeen()}
		v.places[group] = p
	}
	return p
}

// load takes the places of earlier runs out of the intake's marks.
func (v *supervisor) load() error {
	for key, text := range v.intake.Marks() {
		if key == sinceKey {
			v.since, _ = strconv.ParseInt(text, 10, 64) // 0 is no harm
		}
		if group, ok := strings.CutPrefix(key, fromPrefix); ok {
			from, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return errors.New("cloudwatch: the journal holds a place that this version does not understand")
			}
			p := v.place(group)
			p.from, p.known = from, true
		}
		rest, ok := strings.CutPrefix(key, seenPrefix)
		if !ok {
			continue
		}
		digits, group, _ := strings.Cut(rest, "/")
		number, err := strconv.Atoi(digits)
		if err != nil {
			return errors.New("cloudwatch: the journal holds ids that this version does not understand")
		}
		c, err := parseChunk(number, text)
		if err != nil {
			return err
		}
		v.place(group).seen.add(c)
	}
	for _, p := range v.places {
		slices.SortFunc(p.seen.chunks, func(a, b chunk) int { return a.number - b.number })
	}
	return nil
}

// run looks for groups until ctx is done, a reader cannot go on, or the window
// is read to its end in all of them.
func (v *supervisor) run(ctx context.Context) error {
	if err := v.load(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.supervise(ctx, group) })
	return group.Wait()
}

func (v *supervisor) supervise(ctx context.Context, group *errgroup.Group) error {
	const what = "the list of log groups"
	backoff := sources.Backoff{Clock: v.clock, Min: v.config.BackoffMin, Max: v.config.BackoffMax}
	for {
		var groups []found
		if err := backoff.Until(ctx, v.health, what, func(ctx context.Context) (err error) {
			groups, err = v.look(ctx)
			return err
		}); err != nil {
			return err
		}
		if err := v.begin(ctx, group, groups); err != nil {
			return err
		}
		if v.config.End != "" {
			return nil // a window is read in the groups that there are
		}
		refresh := v.clock.After(v.config.RefreshInterval)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case name := <-v.ended:
				delete(v.running, name)
				delete(v.places, name)
			case <-refresh:
				waiting = false
			}
		}
	}
}

// found is a log group as CloudWatch lists it.
type found struct {
	name      string
	created   int64         // in milliseconds
	retention time.Duration // 0 is for ever
}

// look asks for the groups that are to be read here.
func (v *supervisor) look(ctx context.Context) ([]found, error) {
	var out []found
	for _, name := range v.config.Groups {
		n := len(out)
		if err := v.list(ctx, name, func(f found) {
			if f.name == name {
				out = append(out, f)
			}
		}); err != nil {
			return nil, err
		}
		if len(out) == n {
			return nil, errors.New("there is no log group " + name)
		}
	}
	if v.config.searched() {
		if err := v.list(ctx, v.config.GroupPrefix, func(f found) {
			if v.config.groups == nil || v.config.groups.MatchString(f.name) {
				out = append(out, f)
			}
		}); err != nil {
			return nil, err
		}
	}
	out = slices.DeleteFunc(out, func(f found) bool { return !v.mine(f.name) })
	slices.SortFunc(out, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(out, func(a, b found) bool { return a.name == b.name }), nil
}

// list calls each with the groups whose names begin with a prefix.
func (v *supervisor) list(ctx context.Context, prefix string, each func(found)) error {
	in := &cloudwatchlogs.DescribeLogGroupsInput{}
	if prefix != "" {
		in.LogGroupNamePrefix = aws.String(prefix)
	}
	for {
		out, err := v.client.DescribeLogGroups(ctx, in)
		if err != nil {
			return err
		}
		for _, g := range out.LogGroups {
			each(found{aws.ToString(g.LogGroupName), aws.ToInt64(g.CreationTime), time.Duration(aws.ToInt32(g.RetentionInDays)) * 24 * time.Hour})
		}
		if out.NextToken == nil {
			return nil
		}
		in.NextToken = out.NextToken
	}
}

// mine tells whether a group belongs to this process's share.
func (v *supervisor) mine(group string) bool {
	if v.share.Count == 0 {
		return true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(group))
	return h.Sum32()%uint32(v.share.Count) == uint32(v.share.Ordinal)
}

// begin starts the readers of the groups that have none.
func (v *supervisor) begin(ctx context.Context, group *errgroup.Group, all []found) error {
	marks := make(map[string]string)
	if v.since == 0 {
		v.since = v.clock.Now().UnixMilli()
		marks[sinceKey] = strconv.FormatInt(v.since, 10)
	}
	v.forget(all, marks)
	var readers []*reader
	begun := 0
	for _, f := range all {
		if v.running[f.name] {
			continue
		}
		p := v.place(f.name)
		resumed := p.known
		if !p.known {
			p.from, p.known = v.start(f), true
			marks[fromPrefix+f.name] = strconv.FormatInt(p.from, 10)
			begun++
		}
		v.running[f.name] = true
		readers = append(readers, newReader(v, f, p, resumed))
	}
	if begun > 0 {
		v.log.Info("new log groups are read", "count", begun, "from", v.config.Start)
	}
	if len(marks) > 0 {
		// Before the first read, so that a restart does not begin later.
		if err := v.intake.Put(ctx, intake.Entry{Marks: marks}, nil); err != nil {
			return err
		}
	}
	for _, r := range readers {
		group.Go(func() error { return r.run(ctx) })
	}
	return nil
}

// keepPlaces is how long the place of a group is kept that is not there.
const keepPlaces = 7 * 24 * time.Hour

// forget drops the places of groups that have not been there for long.
func (v *supervisor) forget(all []found, marks map[string]string) {
	old := v.clock.Now().Add(-keepPlaces).UnixMilli()
	for name, p := range v.places {
		if v.running[name] || p.from >= old || slices.ContainsFunc(all, func(f found) bool { return f.name == name }) {
			continue
		}
		p.marks(name, marks)
		delete(v.places, name)
	}
}

// marks adds what makes the intake forget a place.
func (p *place) marks(group string, marks map[string]string) {
	marks[fromPrefix+group] = ""
	for _, c := range p.seen.chunks {
		marks[seenKey(group, c.number)] = ""
	}
}

// start is where a group begins that was never read. One that was made since
// the source ran for the first time is read from its first event.
func (v *supervisor) start(f found) int64 {
	start, _, _ := v.config.window() // Validate has seen it
	switch {
	case v.config.Start == StartLatest && f.created <= v.since:
		return v.clock.Now().UnixMilli()
	case start.IsZero():
		return 0
	}
	return start.UnixMilli()
}
