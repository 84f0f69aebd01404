package localapi

import (
	"encoding/json"
	"fmt"
	"net/http"

	"sluice/pipeline/lapi"
)

// usageMetrics implements POST /usage-metrics, for bouncers and machines: what
// each reported last is kept, and shown by the commands that list them.
func (s *Sink) usageMetrics(w http.ResponseWriter, r *http.Request) {
	who := ""
	if r.Header.Get("Authorization") != "" {
		s.machine(func(w http.ResponseWriter, r *http.Request, machine string) { who = "machine/" + machine })(w, r)
	} else if b, ok := s.admitBouncer(w, r); ok {
		who = "bouncer/" + b.Name
	}
	if who == "" {
		return // it has been answered
	}
	var body lapi.AllMetrics
	if !decode(w, r, &body) {
		return
	}
	if err := checkMetrics(&body); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	text, err := json.Marshal(body)
	if err == nil {
		err = s.store.PutMetrics(who, text)
	}
	if err != nil {
		s.broken(w, err)
		return
	}
	reply(w, http.StatusOK, lapi.SuccessResponse{Message: "ok"})
}

// longest is what the specification allows for a text of metrics, in bytes.
const longest = 255

// checkMetrics holds a report to the specification.
func checkMetrics(m *lapi.AllMetrics) error {
	n := 0
	if m.RemediationComponents != nil {
		for _, c := range *m.RemediationComponents {
			n++
			if err := checkReport(c.Version, c.UtcStartupTimestamp, c.Metrics); err != nil {
				return err
			}
		}
	}
	if m.LogProcessors != nil {
		for _, c := range *m.LogProcessors {
			n++
			if err := checkReport(c.Version, c.UtcStartupTimestamp, c.Metrics); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("the report speaks of no remediation component and of no log processor")
	}
	return nil
}

func checkReport(version string, started int, metrics *[]lapi.DetailedMetrics) error {
	if version == "" || len(version) > longest {
		return fmt.Errorf("a version has between 1 and %d bytes", longest)
	}
	if started <= 0 {
		return fmt.Errorf("utc_startup_timestamp is missing")
	}
	if metrics == nil {
		return nil
	}
	for _, d := range *metrics {
		for _, it := range d.Items {
			if it.Name == "" || len(it.Name) > longest || len(it.Unit) > longest {
				return fmt.Errorf("the name of a metric has between 1 and %d bytes, its unit at most as many", longest)
			}
		}
	}
	return nil
}
