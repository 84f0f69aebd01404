package localapi

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/duration"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/blocklist"
	"sluice/sinks/localapi/store"
)

// importDecisions puts the decisions of a list in force: the body is the list
// as it is, in any format that package blocklist reads, and is read as it
// comes, so that it may be of any length. The parameters are those of
// blocklist.Options, origin, which goes before that of an item, and source, which is where the list comes from.
func (s *Sink) importDecisions(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // where there is none, it need not be taken away
	q := r.URL.Query()
	o := blocklist.Options{Format: q.Get("format"), Type: q.Get("type"), Duration: q.Get("duration"), Reason: q.Get("reason")}
	now := s.store.Now()
	at := now.UTC().Format(time.RFC3339)
	alert := lapi.Alert{
		Scenario: o.Reason, Message: "imported from " + q.Get("source"), StartAt: at, StopAt: at, Leakspeed: "0", Events: []lapi.Event{},
		Source: lapi.Source{Scope: "import", Value: q.Get("source")},
	}
	out, err := s.store.Import(operator, alert, func(add func(*decisions.Decision) error) error {
		text, length := "", time.Duration(0) // most items have that of the one before
		return blocklist.Read(r.Body, o, func(d blocklist.Decision) (err error) {
			if d.Duration != text {
				if length, err = duration.Parse(d.Duration); err != nil {
					return err
				}
				text = d.Duration
			}
			return add(&decisions.Decision{
				Origin: cmp.Or(q.Get("origin"), d.Origin, "cscli-import"), Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Reason, Until: now.Add(length),
			})
		})
	})
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf("%v (%d were added before)", err, out.Added+out.Renewed))
		return
	}
	reply(w, http.StatusOK, out)
}

// Imported is what an import is answered.
type Imported = store.Imported
