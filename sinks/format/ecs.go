package format

import (
	"net/netip"
	"strings"

	"sluice/pipeline"
)

// ecsVersion is the version of the Elastic Common Schema that documents are written in.
const ecsVersion = "8.17.0"

type ecsDocument struct {
	Timestamp string         `json:"@timestamp"`
	ECS       ecsSchema      `json:"ecs"`
	Message   string         `json:"message"`
	Event     ecsEvent       `json:"event"`
	Rule      ecsRule        `json:"rule"`
	Source    *ecsSource     `json:"source,omitempty"`
	Related   *ecsRelated    `json:"related,omitempty"`
	Threat    *ecsThreat     `json:"threat,omitempty"`
	Observer  ecsObserver    `json:"observer"`
	Tags      []string       `json:"tags,omitempty"`
	Sluice    map[string]any `json:"sluice"`
}

type ecsSchema struct {
	Version string `json:"version"`
}

type ecsEvent struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Category []string `json:"category"`
	Type     []string `json:"type"`
	Module   string   `json:"module"`
	Dataset  string   `json:"dataset"`
	Created  string   `json:"created,omitempty"`
	Start    string   `json:"start,omitempty"`
	End      string   `json:"end,omitempty"`
	Severity int      `json:"severity"`
}

type ecsRule struct {
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
	Ruleset string `json:"ruleset,omitempty"`
}

type ecsSource struct {
	IP      string  `json:"ip,omitempty"`
	Address string  `json:"address,omitempty"`
	Geo     *ecsGeo `json:"geo,omitempty"`
	AS      *ecsAS  `json:"as,omitempty"`
}

type ecsGeo struct {
	Country  string       `json:"country_iso_code,omitempty"`
	Location *ecsLocation `json:"location,omitempty"`
}

type ecsLocation struct {
	Lat float32 `json:"lat"`
	Lon float32 `json:"lon"`
}

type ecsAS struct {
	Number int64            `json:"number"`
	Org    *ecsOrganization `json:"organization,omitempty"`
}

type ecsOrganization struct {
	Name string `json:"name"`
}

type ecsRelated struct {
	IP []string `json:"ip"`
}

type ecsThreat struct {
	Framework string         `json:"framework"`
	Technique []ecsTechnique `json:"technique"`
}

type ecsTechnique struct {
	ID []string `json:"id"`
}

type ecsObserver struct {
	Vendor  string `json:"vendor"`
	Product string `json:"product"`
}

// toECS returns an alert as a document of kind alert. The severity is 73 (high)
// for what asks for remediation and 47 (medium) for the rest, on Elastic's scale.
func toECS(a *pipeline.Alert) *ecsDocument {
	d := &ecsDocument{
		Timestamp: a.StopAt, ECS: ecsSchema{ecsVersion}, Message: a.Message,
		Event: ecsEvent{
			ID: a.UUID, Kind: "alert", Category: []string{"intrusion_detection"}, Type: []string{"info"}, Module: "sluice", Dataset: "sluice.alert",
			Created: a.CreatedAt, Start: a.StartAt, End: a.StopAt, Severity: 47,
		},
		Rule:     ecsRule{Name: a.Scenario, ID: a.ScenarioHash, Version: a.ScenarioVersion},
		Observer: ecsObserver{vendor, product}, Tags: a.Labels,
		Sluice: map[string]any{
			"source": a.Source, "decisions": a.Decisions, "meta": a.Meta, "events_count": a.EventsCount,
			"simulated": a.Simulated, "remediation": a.Remediation,
		},
	}
	d.Rule.Ruleset, _, _ = strings.Cut(a.Scenario, "/")
	if a.Remediation {
		d.Event.Severity = 73
	}
	if a.Simulated {
		d.Event.Kind = "signal" // nobody needs to act on it
	}
	if ids := techniques(a); len(ids) > 0 {
		d.Threat = &ecsThreat{Framework: "MITRE ATT&CK"}
		for _, id := range ids {
			d.Threat.Technique = append(d.Threat.Technique, ecsTechnique{[]string{id}})
		}
	}
	d.addSource(a.Source)
	return d
}

func (d *ecsDocument) addSource(s *pipeline.Source) {
	if s == nil {
		return
	}
	d.Source = &ecsSource{}
	if addr, ok := address(s); ok {
		d.Source.IP, d.Source.Address = addr.String(), s.Value
		d.Related = &ecsRelated{[]string{addr.String()}}
	} else if _, err := netip.ParsePrefix(s.Value); err == nil {
		d.Source.Address = s.Value
	} // a user, or a country, is no address
	if s.Cn != "" || s.Latitude != 0 || s.Longitude != 0 {
		d.Source.Geo = &ecsGeo{Country: s.Cn}
		if s.Latitude != 0 || s.Longitude != 0 {
			d.Source.Geo.Location = &ecsLocation{s.Latitude, s.Longitude}
		}
	}
	if n := asNumber(s); n > 0 {
		d.Source.AS = &ecsAS{Number: n}
		if s.AsName != "" {
			d.Source.AS.Org = &ecsOrganization{s.AsName}
		}
	}
	if *d.Source == (ecsSource{}) {
		d.Source = nil
	}
}
