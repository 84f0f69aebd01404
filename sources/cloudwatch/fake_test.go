package cloudwatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"sluice/sources/sourcetest"
)

// fakeLogs is a CloudWatch Logs of a few groups.
type fakeLogs struct {
	mu     sync.Mutex
	clock  *sourcetest.Clock
	groups []*fakeGroup
	ids    int
	page   int // events and groups of an answer; 0 is all
	fail   func(call string) error
	calls  map[string]int
}

type fakeGroup struct {
	name      string
	created   time.Time
	retention int32 // days
	events    []types.FilteredLogEvent
}

func newFakeLogs(groups ...string) *fakeLogs {
	f := &fakeLogs{clock: sourcetest.NewClock(), calls: make(map[string]int)}
	for _, name := range groups {
		f.groups = append(f.groups, &fakeGroup{name: name, created: f.clock.Now().Add(-time.Hour)})
	}
	return f
}

func (f *fakeLogs) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeLogs) group(name string) *fakeGroup {
	for _, g := range f.groups {
		if g.name == name {
			return g
		}
	}
	return nil
}

// put puts events into a stream, with times so long ago.
func (f *fakeLogs) put(group, stream string, ago time.Duration, messages ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.group(group)
	for _, m := range messages {
		f.ids++
		g.events = append(g.events, types.FilteredLogEvent{
			EventId: aws.String(fmt.Sprintf("%056d", f.ids)), LogStreamName: aws.String(stream), Message: aws.String(m),
			Timestamp: aws.Int64(f.clock.Now().Add(-ago).UnixMilli()), IngestionTime: aws.Int64(f.clock.Now().UnixMilli()),
		})
	}
	slices.SortStableFunc(g.events, func(a, b types.FilteredLogEvent) int { return cmp.Compare(*a.Timestamp, *b.Timestamp) })
}

// called counts a call; the caller holds the lock.
func (f *fakeLogs) called(ctx context.Context, call string) error {
	f.calls[call]++
	if f.fail != nil {
		if err := f.fail(call); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (f *fakeLogs) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *fakeLogs) DescribeLogGroups(ctx context.Context, in *cloudwatchlogs.DescribeLogGroupsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.called(ctx, "describe"); err != nil {
		return nil, err
	}
	from, _ := strconv.Atoi(aws.ToString(in.NextToken))
	out := &cloudwatchlogs.DescribeLogGroupsOutput{}
	for i, g := range f.groups[from:] {
		if f.page > 0 && i == f.page {
			out.NextToken = aws.String(strconv.Itoa(from + i))
			break
		}
		if strings.HasPrefix(g.name, aws.ToString(in.LogGroupNamePrefix)) {
			d := types.LogGroup{LogGroupName: aws.String(g.name), CreationTime: aws.Int64(g.created.UnixMilli())}
			if g.retention > 0 {
				d.RetentionInDays = aws.Int32(g.retention)
			}
			out.LogGroups = append(out.LogGroups, d)
		}
	}
	return out, nil
}

func (f *fakeLogs) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := aws.ToString(in.LogGroupName)
	if err := f.called(ctx, "filter "+name); err != nil {
		return nil, err
	}
	g := f.group(name)
	if g == nil {
		return nil, &types.ResourceNotFoundException{Message: aws.String("no group " + name)}
	}
	var all []types.FilteredLogEvent
	for _, e := range g.events {
		if *e.Timestamp >= *in.StartTime && *e.Timestamp <= *in.EndTime && strings.HasPrefix(*e.LogStreamName, aws.ToString(in.LogStreamNamePrefix)) &&
			strings.Contains(*e.Message, aws.ToString(in.FilterPattern)) {
			all = append(all, e)
		}
	}
	// A token is of one question, and of no other.
	question := fmt.Sprintf("%d,%d,", *in.StartTime, *in.EndTime)
	from := 0
	if token := aws.ToString(in.NextToken); token != "" {
		at, ok := strings.CutPrefix(token, question)
		if !ok {
			return nil, &types.InvalidParameterException{Message: aws.String("a token of another question")}
		}
		from, _ = strconv.Atoi(at)
	}
	to := len(all)
	out := &cloudwatchlogs.FilterLogEventsOutput{}
	if f.page > 0 && from+f.page < to {
		to = from + f.page
		out.NextToken = aws.String(question + strconv.Itoa(to))
	}
	out.Events = all[min(from, to):to]
	return out, nil
}
