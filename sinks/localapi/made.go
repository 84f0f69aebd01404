package localapi

import (
	"net/http"

	"sluice/pipeline/decisions"
	"sluice/sinks/localapi/store"
)

// madeWithin reads since and until, and returns what tells whether a decision
// was made in that time by the alert that it came with; otherwise it has
// answered. One whose alert is deleted is older than any that is known.
func (s *Sink) madeWithin(w http.ResponseWriter, r *http.Request) (made func(alert int64) bool, ok bool) {
	since, until, err := readTimes(r.URL.Query(), s.store.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	if since.IsZero() && until.IsZero() {
		return func(int64) bool { return true }, true
	}
	after, tooNew := make(map[int64]bool), make(map[int64]bool)
	err = s.store.Alerts(func(a *store.Alert) bool {
		after[a.ID] = !a.Created.Before(since)
		tooNew[a.ID] = !until.IsZero() && a.Created.After(until)
		return after[a.ID] && !since.IsZero() || tooNew[a.ID]
	})
	if err != nil {
		s.broken(w, err)
		return nil, false
	}
	return func(alert int64) bool { return (since.IsZero() || after[alert]) && !tooNew[alert] }, true
}

// deleteDecisionsMade is deleteDecisions with since and until, which the
// published API has for alerts alone.
func (s *Sink) deleteDecisionsMade(w http.ResponseWriter, r *http.Request, machine string) {
	q := r.URL.Query()
	if !q.Has("since") && !q.Has("until") {
		s.deleteDecisions(w, r, machine)
		return
	}
	f, err := deletes(r, "since", "until")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	made, ok := s.madeWithin(w, r)
	if !ok {
		return
	}
	f.Within = f.Within || f.Prefix.IsValid() && q.Get("contains") == ""
	alerts := make(map[int64]bool)
	s.store.Index().Select(f, s.store.Now(), func(d *decisions.Decision) bool {
		alerts[d.Alert] = made(d.Alert)
		return true
	})
	total := 0
	for alert, in := range alerts {
		if !in || alert == 0 { // 0 would select those of every alert
			continue
		}
		of := *f
		of.Alert = alert
		n, err := s.store.Delete(&of)
		if err != nil {
			s.broken(w, err)
			return
		}
		total += n
	}
	deleted(w, total)
}
