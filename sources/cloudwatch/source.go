package cloudwatch

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"sluice/pipeline/awsconn"
	"sluice/sources"
	"sluice/sources/intake"
)

// module is evt.Line.Module of what this source reads.
const module = "cloudwatch"

// client is what is asked of CloudWatch Logs.
type client interface {
	DescribeLogGroups(context.Context, *cloudwatchlogs.DescribeLogGroupsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error)
	FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
}

// Source reads log groups. See the package's comment.
type Source struct {
	name   string
	config Config
	log    *slog.Logger
	clock  sources.Clock
	health *sources.Health
	intake *intake.Intake
	// connect returns the client and what closes its connections.
	connect func(ctx context.Context) (client, func(), error)

	skipped, gaps atomic.Uint64

	delays sources.Delays // by group
}

// New makes the source. It connects to nothing.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	in, err := intake.New(name, module, c.intake(), env)
	if err != nil {
		return nil, err
	}
	log := env.Log.With("source", name)
	s := &Source{
		name: name, config: c, log: log, clock: env.Clock, health: sources.NewHealth(log), intake: in,
	}
	s.connect = s.dial
	return s, nil
}

func (s *Source) dial(ctx context.Context) (client, func(), error) {
	c, err := s.config.Settings.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	return cloudwatchlogs.NewFromConfig(c), func() { awsconn.CloseIdle(c) }, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Run implements sources.Source. It ends with nil when the window was read to
// its end, with the context, with an error of Emit, or with a sentence about
// settings that cannot be used or events that are gone.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	share := s.config.Share
	if err := share.Resolve(); err != nil {
		return err
	}
	client, closeIdle, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer closeIdle()
	return s.intake.Run(ctx, from, out, func(ctx context.Context) error {
		return newSupervisor(s, client, share).run(ctx)
	})
}

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.intake.Commit(ctx, next)
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var stats sources.Stats
	s.intake.Fill(&stats)
	s.health.Fill(&stats)
	stats.Skipped += s.skipped.Load()
	stats.Gaps += s.gaps.Load()
	s.delays.Fill(&stats)
	return stats
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.intake.Close() }
