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

// lookUp returns those of the alerts that the API has, by id.
func (t *target) lookUp(ctx context.Context, alerts []pipeline.Alert) (map[string]bool, error) {
	oldest := make(map[string]time.Time) // by the value of the source
	wanted := make(map[string]bool)
	for i := range alerts {
		a := &alerts[i]
		wanted[a.UUID] = true
		value := a.GetValue()
		start, err := time.Parse(time.RFC3339Nano, a.StartAt)
		if err != nil {
			start = time.Time{} // the API gives such an alert a time of its own
		}
		if have, ok := oldest[value]; !ok || start.Before(have) {
			oldest[value] = start
		}
	}
	found := make(map[string]bool)
	for value, since := range oldest {
		if err := t.ask(ctx, value, since, wanted, found); err != nil {
			return nil, fmt.Errorf("asking which alerts are there already: %w", err)
		}
	}
	return found, nil
}

// ask adds to found what the API has, about one value, of the alerts that are
// wanted. CrowdSec's filters by scenario and by address see alerts with
// decisions only, and it writes scopes its own way: they are of no use here.
func (t *target) ask(ctx context.Context, value string, since time.Time, wanted, found map[string]bool) error {
	// The times that CrowdSec compares are those of the alerts' first events.
	params := url.Values{"limit": {"0"}} // all
	if value != "" {
		params.Set("value", value)
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
