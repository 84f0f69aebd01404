package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
			case r.Status/100 == 5 || slices.Contains(ofTheIndex, r.Status):
				return &sinks.PartialError{Settled: i, Rejected: rejected, Failed: 1, Err: fmt.Errorf("a document was answered %d: %s", r.Status, excerpt(r.Error))}
			default:
				rejected = rejected.With(i, fmt.Errorf("a document was answered %d: %s", r.Status, excerpt(r.Error)))
			}
		}
	}
	return sinks.Outcome(len(alerts), rejected, nil)
}

// ofTheIndex are answers of 4xx to a document that are about its index, or the
// right to write it, and not about what is in it: nobody is signed in, it is not
// allowed or blocked (older versions say so when their disk is full), it is not
// there, and too much at once.
var ofTheIndex = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests}

// excerpt is the beginning of what is said of a document.
func excerpt(text json.RawMessage) string {
	if len(text) == 0 {
		return "(no words)"
	}
	return strings.ToValidUTF8(strings.Join(strings.Fields(string(text[:min(len(text), maxSaid)])), " "), "")
}
