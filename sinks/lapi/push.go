package lapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/duration"
	"sluice/pipeline/lapi"
	"sluice/sinks/format"
)

// settled is what became of an alert at a target.
type settled struct {
	refused            error // nil when it is there
	decisions, expired int   // sent, and left out because they had run out
}

// push brings alerts to the API and calls settle for each whose fate is known.
// An error says that those without are to be given again.
func (t *target) push(ctx context.Context, alerts []pipeline.Alert, settle func(*pipeline.Alert, settled)) error {
	alerts, err := t.leaveOutKnown(ctx, alerts, settle)
	if err != nil || len(alerts) == 0 {
		return err
	}
	outcome := make([]settled, len(alerts))
	body := make(lapi.AddAlertsRequest, len(alerts))
	now := t.env.Now()
	for i := range alerts {
		body[i], outcome[i] = t.prepare(&alerts[i], now)
	}
	err = t.signed(ctx, http.MethodPost, "/v1/alerts", body, nil)
	if err == nil {
		for i := range alerts {
			t.settle(&alerts[i], outcome[i], settle)
		}
		return nil
	}
	if mayHaveArrived(err) {
		for i := range alerts {
			t.unsure[alerts[i].UUID] = true
		}
	}
	switch {
	case !refuses(err):
		return err
	case len(alerts) == 1:
		t.settle(&alerts[0], settled{refused: err}, settle)
		return nil
	}
	half := len(alerts) / 2
	if err := t.push(ctx, alerts[:half], settle); err != nil {
		return err
	}
	return t.push(ctx, alerts[half:], settle)
}

func (t *target) settle(a *pipeline.Alert, what settled, settle func(*pipeline.Alert, settled)) {
	delete(t.unsure, a.UUID)
	settle(a, what)
}

// leaveOutKnown returns the alerts that have to be sent: of those that may be
// there it asks for which are.
func (t *target) leaveOutKnown(ctx context.Context, alerts []pipeline.Alert, settle func(*pipeline.Alert, settled)) ([]pipeline.Alert, error) {
	var doubtful []pipeline.Alert
	for i := range alerts {
		if t.unsure[alerts[i].UUID] {
			doubtful = append(doubtful, alerts[i])
		}
	}
	if len(doubtful) == 0 {
		return alerts, nil
	}
	found, err := t.lookUp(ctx, doubtful)
	if err != nil {
		return nil, err
	}
	for i := range doubtful {
		delete(t.unsure, doubtful[i].UUID)
	}
	var out []pipeline.Alert
	for i := range alerts {
		if a := &alerts[i]; found[a.UUID] {
			t.settle(a, settled{decisions: len(a.Decisions)}, settle)
		} else {
			out = append(out, *a)
		}
	}
	return out, nil
}

// mayHaveArrived tells whether a request that failed may have done something.
// A batch is no transaction to CrowdSec: of one that it refuses, or fails on,
// it may have kept a part.
func mayHaveArrived(err error) bool {
	var unsent *unsentError
	var status *statusError
	switch {
	case errors.As(err, &unsent):
		return false
	case errors.As(err, &status):
		return status.status/100 != 3 && status.status != http.StatusUnauthorized && status.status != http.StatusForbidden &&
			status.status != http.StatusNotFound && status.status != http.StatusTooManyRequests
	}
	return true
}

// refuses tells whether an answer will be the same next time.
func refuses(err error) bool {
	var unsent *unsentError
	var status *statusError
	if errors.As(err, &unsent) || !errors.As(err, &status) {
		return false
	}
	switch status.status {
	case http.StatusUnauthorized, http.StatusForbidden, // the machine is to blame
		http.StatusNotFound, http.StatusMethodNotAllowed, // the address is
		http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError:
		return blamesAlert(status.words)
	}
	return status.status/100 == 4
}

// blamesAlert tells whether words that come with a 500 say that an alert is
// wrong: CrowdSec answers 500 to that as well as to trouble of its own.
func blamesAlert(words string) bool {
	for _, phrase := range []string{"validation failure list", "validator failed for field", "invalid addr/range", "unable to parse duration"} {
		if strings.Contains(words, phrase) {
			return true
		}
	}
	return false
}

// prepare writes an alert as the API takes it: with what is left of its
// decisions. APIs count a decision's duration from the alert's stop_at.
func (t *target) prepare(a *pipeline.Alert, now time.Time) (lapi.Alert, settled) {
	out := format.ToCrowdSec(a)
	from := now
	if stop, err := time.Parse(time.RFC3339Nano, a.StopAt); err == nil {
		from = stop
	}
	var left, simulated []lapi.Decision
	expired := 0
	for _, d := range *out.Decisions {
		if d.Until != nil {
			until, err := time.Parse(time.RFC3339Nano, *d.Until)
			if err == nil && !until.After(now) {
				expired++
				continue
			}
			if err == nil {
				d.Duration = until.Sub(from).String()
			}
		} else if whole, err := duration.Parse(d.Duration); err == nil {
			d.Duration = whole.String() // CrowdSec knows no days
		}
		if !a.Simulated && d.Simulated != nil && *d.Simulated {
			simulated = append(simulated, d)
			continue
		}
		left = append(left, d)
	}
	if len(simulated) > 0 {
		// CrowdSec has one flag for all of an alert. Those that are meant win.
		if len(left) == 0 {
			left, out.Simulated = simulated, true
		} else {
			t.log.Debug("simulated decisions were left out, since others of the alert are meant", "alert", a.UUID, "decisions", len(simulated))
		}
	}
	if left == nil {
		left = []lapi.Decision{}
		if expired > 0 { // or the API's own profiles would decide anew
			no := false
			out.Remediation = &no
		}
	}
	out.Decisions = &left
	return out, settled{decisions: len(left), expired: expired}
}
