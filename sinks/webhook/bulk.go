package webhook

import (
	"encoding/json"
	"fmt"

	"sluice/pipeline"
	"sluice/sinks"
)

// checkBulk reads Elasticsearch's answer to a bulk request, which says of each
// document what became of it. One that is there already (409) was delivered before.
func checkBulk(answer []byte, alerts []pipeline.Alert) error {
	var bulk struct {
		Errors bool
		Items  []map[string]struct {
			Status int
			Error  json.RawMessage
		}
	}
	if err := json.Unmarshal(answer, &bulk); err != nil {
		return fmt.Errorf("its answer is none to a bulk request: %w", err)
	}
	if len(bulk.Items) != len(alerts) {
		return fmt.Errorf("its answer is about %d documents, and %d were sent", len(bulk.Items), len(alerts))
	}
	var rejected *sinks.RejectedError
	for i, item := range bulk.Items {
		for _, r := range item {
			switch {
			case r.Status/100 == 2 || r.Status == 409:
			case r.Status == 429 || r.Status/100 == 5:
				return &sinks.PartialError{Settled: i, Rejected: rejected, Err: fmt.Errorf("a document was answered %d: %s", r.Status, words(r.Error))}
			default:
				if rejected == nil {
					rejected = &sinks.RejectedError{Reason: fmt.Errorf("a document was answered %d: %s", r.Status, words(r.Error))}
				}
				rejected.Alerts = append(rejected.Alerts, i)
			}
		}
	}
	if rejected != nil {
		return rejected
	}
	return nil
}
