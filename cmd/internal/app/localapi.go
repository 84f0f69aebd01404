package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/localapi"
)

// LocalAPI returns a client of the configuration's sink that keeps decisions:
// of the running sluice, or of its folder where none runs.
func (c *Config) LocalAPI(ctx context.Context, log *slog.Logger) (*localapi.Client, error) {
	for _, node := range c.sinks {
		taken, rest, err := component.Take(node, "type", "name", "on_full", "when")
		if err != nil {
			return nil, inFile(c.file, err)
		}
		kind, name := "", ""
		if taken["type"] != nil {
			kind = taken["type"].GetToken().Value
		}
		if kind != "local_api" {
			continue
		}
		if name = kind; taken["name"] != nil {
			name = taken["name"].GetToken().Value
		}
		config := localapi.Default()
		if err := component.Decode(rest, &config); err != nil {
			return nil, inFile(c.file, err)
		}
		env := sinks.Env{Log: log, Dir: c.sinksDir()}
		if err := c.lendAllowlists(&env, log); err != nil {
			return nil, fmt.Errorf("%s: %w", c.file, err)
		}
		client, err := localapi.Dial(ctx, name, config, env)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.file, err)
		}
		return client, nil
	}
	return nil, errors.New(c.file + ": it has no sink of type local_api, which keeps decisions; add one under the key sinks")
}

// follow shows the sinks that keep decisions to those that follow them.
func (p *Pipeline) follow() error {
	var feeds []sinks.DecisionFeed
	for _, s := range p.sinks {
		if f, ok := s.(sinks.DecisionFeed); ok {
			feeds = append(feeds, f)
		}
	}
	for i, s := range p.sinks {
		f, ok := s.(sinks.DecisionFollower)
		if !ok {
			continue
		}
		if err := component.At(p.config.sinks[i], f.Follow(feeds)); err != nil {
			return err
		}
	}
	return nil
}
