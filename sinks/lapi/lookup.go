package lapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"sluice/pipeline"
	"sluice/sinks/format"
)

// clockMargin is how far the API's clock may be off before it hides alerts
// that are looked for by their time.
const clockMargin = 15 * time.Minute

// question selects alerts at the API. CrowdSec's filters by scenario and by
// address see alerts with decisions only, and are of no use here.
type question struct{ scope, value string }

// lookUp returns those of the alerts that the API has, by id.
func (t *target) lookUp(ctx context.Context, alerts []pipeline.Alert) (map[string]bool, error) {
	oldest := make(map[question]time.Time)
	wanted := make(map[string]bool)
	for i := range alerts {
		a := &alerts[i]
		wanted[a.UUID] = true
		var q question
		if a.Source != nil {
			q = question{a.Source.Scope, a.Source.Value}
		}
		start, err := time.Parse(time.RFC3339Nano, a.StartAt)
		if err != nil {
			start = time.Time{} // the API gives such an alert a time of its own
		}
		if have, ok := oldest[q]; !ok || start.Before(have) {
			oldest[q] = start
		}
	}
	found := make(map[string]bool)
	for q, since := range oldest {
		if err := t.ask(ctx, q, since, wanted, found); err != nil {
			return nil, fmt.Errorf("asking which alerts are there already: %w", err)
		}
	}
	return found, nil
}

// ask adds to found what one question finds of the alerts that are wanted.
func (t *target) ask(ctx context.Context, q question, since time.Time, wanted, found map[string]bool) error {
	// The times that CrowdSec compares are those of the alerts' first events.
	params := url.Values{"limit": {"0"}} // all
	if q.scope != "" {
		params.Set("scope", q.scope)
	}
	if q.value != "" {
		params.Set("value", q.value)
	}
	if ago := t.env.Now().Sub(since); !since.IsZero() && ago > -clockMargin {
		params.Set("since", (ago + clockMargin).Truncate(time.Second).String())
	}
	return t.signed(ctx, http.MethodGet, "/v1/alerts?"+params.Encode(), nil, func(r io.Reader) error { return readIDs(r, wanted, found) })
}

// readIDs reads a list of alerts one by one, since it may be long, and notes our ids in it.
func readIDs(r io.Reader, wanted, found map[string]bool) error {
	in := json.NewDecoder(r)
	first, err := in.Token()
	if err != nil {
		return err
	}
	if first == nil { // null: none
		return nil
	}
	if first != json.Delim('[') {
		return fmt.Errorf("it is no list of alerts")
	}
	for in.More() {
		var a struct {
			Meta []struct{ Key, Value string }
		}
		if err := in.Decode(&a); err != nil {
			return err
		}
		for _, m := range a.Meta {
			if m.Key == format.MetaID && wanted[m.Value] {
				found[m.Value] = true
			}
		}
	}
	_, err = in.Token()
	return err
}
