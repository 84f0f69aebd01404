package sources_test

import (
	"context"
	"fmt"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
)

// counterConfig and counter are a whole source, as one file of a new folder would hold it.
type counterConfig struct {
	// Lines is how many are counted.
	Lines int `yaml:"lines"`
}

func (c *counterConfig) Validate() error {
	if c.Lines < 1 {
		return component.Invalid("lines", "at least 1 is needed")
	}
	return nil
}

type counter struct {
	name   string
	config counterConfig
	env    sources.Env
}

func (c *counter) Name() string                                    { return c.name }
func (c *counter) Commit(context.Context, sources.Positions) error { return nil }
func (c *counter) Stats() sources.Stats                            { return sources.Stats{Records: uint64(c.config.Lines)} }
func (c *counter) Close() error                                    { return nil }

func (c *counter) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	part := pipeline.Partition{Source: c.name}
	for i := from[part]; i < int64(c.config.Lines); i++ {
		record := pipeline.Record{Value: fmt.Append(nil, "line ", i), Offset: i, Time: c.env.Clock.Now()}
		if err := out(ctx, &pipeline.RecordBatch{Partition: part, Module: "counter", Records: []pipeline.Record{record}}); err != nil {
			return err
		}
	}
	return nil
}

// A kind registers itself in an init; the program imports its folder.
func init() {
	sources.Register(sources.Kind[counterConfig]{
		Type: "counter", Summary: "Counted lines.", Description: "For the example.", Example: "lines: 3\n", Delivery: "exactly once",
		Default: func() counterConfig { return counterConfig{Lines: 1} },
		New: func(name string, c counterConfig, env sources.Env) (sources.Source, error) {
			return &counter{name, c, env}, nil
		},
	})
}

func Example() {
	entry, err := component.Parse([]byte("type: counter\nname: three\nlines: 3\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	source, err := sources.New(entry, sources.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	from := sources.Positions{{Source: "three"}: 1} // a checkpoint
	err = source.Run(context.Background(), from, func(_ context.Context, b *pipeline.RecordBatch) error {
		fmt.Printf("%s: %s\n", b.Partition, b.Records[0].Value)
		return nil
	})
	fmt.Println(source.Name(), err)
	// Output:
	// three//0: line 1
	// three//0: line 2
	// three <nil>
}

func TestLagIsUnknownWithoutAHighWatermark(t *testing.T) {
	for _, c := range []struct{ next, high, want int64 }{{3, 10, 7}, {10, 10, 0}, {11, 10, 0}, {3, -1, -1}} {
		if got := (sources.PartitionStats{Next: c.next, HighWatermark: c.high}).Lag(); got != c.want {
			t.Errorf("next %d of %d: lag %d, want %d", c.next, c.high, got, c.want)
		}
	}
}
