package lapi

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline/lapi"
)

// Run implements sinks.Runner: it tells the APIs that the sink is alive, and what it has done.
func (s *Sink) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, t := range s.targets() {
		all.Go(func() error { s.every(ctx, s.config.Heartbeat, t, s.beat); return nil })
		all.Go(func() error { s.every(ctx, s.config.UsageMetrics, t, s.report()); return nil })
	}
	return all.Wait()
}

// every calls what now and after each interval, until it returns false or ctx is done.
func (s *Sink) every(ctx context.Context, interval time.Duration, t *target, what func(context.Context, *target) bool) {
	if interval == 0 {
		return
	}
	for what(ctx, t) {
		select {
		case <-s.env.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// beat sends a heartbeat. That it fails is no news: alerts fail too, and say so.
func (s *Sink) beat(ctx context.Context, t *target) bool {
	if t.rest.Left(s.env.Now()) > 0 {
		return true
	}
	if err := t.signed(ctx, http.MethodGet, "/v1/heartbeat", nil, nil); err != nil && ctx.Err() == nil {
		t.log.Debug("a heartbeat failed", "error", err)
	}
	return true
}

// report returns what reports the alerts since the last report that arrived.
func (s *Sink) report() func(context.Context, *target) bool {
	last, reported := s.begun, uint64(0)
	return func(ctx context.Context, t *target) bool {
		if t.rest.Left(s.env.Now()) > 0 {
			return true
		}
		now, total := s.env.Now(), s.alerts.Load()
		err := t.signed(ctx, http.MethodPost, "/v1/usage-metrics", s.usage(now, now.Sub(last), total-reported), nil)
		var status *statusError
		switch {
		case err == nil:
			last, reported = now, total
		case errors.As(err, &status) && status.status == http.StatusNotFound:
			t.log.Info("the LAPI is too old for usage metrics; it gets none")
			return false
		case ctx.Err() == nil:
			t.log.Debug("usage metrics were not taken", "error", err)
		}
		return true
	}
}

// usage is a report on a while in which alerts were delivered.
func (s *Sink) usage(now time.Time, window time.Duration, alerts uint64) lapi.AllMetrics {
	return lapi.AllMetrics{LogProcessors: &[]lapi.LogProcessorsMetrics{{
		Version: "sluice-" + version(), UtcStartupTimestamp: int(s.begun.Unix()), Os: &lapi.OSversion{Name: runtime.GOOS, Version: runtime.GOARCH},
		FeatureFlags: &[]string{}, HubItems: lapi.HubItems{}, Datasources: map[string]int{},
		Metrics: &[]lapi.DetailedMetrics{{
			Meta:  lapi.MetricsMeta{UtcNowTimestamp: int(now.Unix()), WindowSizeSeconds: int(window.Seconds())},
			Items: []lapi.MetricsDetailItem{{Name: "alerts", Unit: "alert", Value: float64(alerts)}},
		}},
	}}}
}

// version is the program's, as far as it is known.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return "v0"
}
