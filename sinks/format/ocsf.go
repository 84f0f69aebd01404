package format

import (
	"sluice/pipeline"
)

// ocsfVersion is the version of the schema that findings are written in.
const ocsfVersion = "1.7.0"

// Numbers of the schema (https://schema.ocsf.io, class Detection Finding).
const (
	ocsfCategoryFindings = 2
	ocsfClassDetection   = 2004
	ocsfActivityCreate   = 1
	ocsfStatusNew        = 1
	ocsfSeverityMedium   = 3
	ocsfSeverityHigh     = 4
	ocsfAnalyticRule     = 1
	ocsfObservableIP     = 2
	ocsfObservableSubnet = 12
	ocsfObservableOther  = 99
)

type ocsfFinding struct {
	ActivityID   int              `json:"activity_id"`
	ActivityName string           `json:"activity_name"`
	CategoryUID  int              `json:"category_uid"`
	CategoryName string           `json:"category_name"`
	ClassUID     int              `json:"class_uid"`
	ClassName    string           `json:"class_name"`
	TypeUID      int64            `json:"type_uid"`
	TypeName     string           `json:"type_name"`
	SeverityID   int              `json:"severity_id"`
	Severity     string           `json:"severity"`
	StatusID     int              `json:"status_id"`
	Status       string           `json:"status"`
	ConfidenceID *int             `json:"confidence_id,omitempty"`
	Confidence   string           `json:"confidence,omitempty"`
	IsAlert      bool             `json:"is_alert"`
	Message      string           `json:"message"`
	Time         int64            `json:"time"`
	StartTime    int64            `json:"start_time,omitempty"`
	EndTime      int64            `json:"end_time,omitempty"`
	Count        int32            `json:"count,omitempty"`
	Metadata     ocsfMetadata     `json:"metadata"`
	Info         ocsfInfo         `json:"finding_info"`
	Evidences    []ocsfEvidence   `json:"evidences,omitempty"`
	Observables  []ocsfObservable `json:"observables,omitempty"`
	Remediation  *ocsfRemediation `json:"remediation,omitempty"`
	Unmapped     map[string]any   `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version string      `json:"version"`
	UID     string      `json:"uid"`
	Product ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfInfo struct {
	UID       string       `json:"uid"`
	Title     string       `json:"title"`
	Desc      string       `json:"desc,omitempty"`
	Created   int64        `json:"created_time,omitempty"`
	FirstSeen int64        `json:"first_seen_time,omitempty"`
	LastSeen  int64        `json:"last_seen_time,omitempty"`
	Types     []string     `json:"types,omitempty"`
	Analytic  ocsfAnalytic `json:"analytic"`
	Attacks   []ocsfAttack `json:"attacks,omitempty"`
}

type ocsfAnalytic struct {
	Name    string `json:"name"`
	UID     string `json:"uid,omitempty"`
	TypeID  int    `json:"type_id"`
	Type    string `json:"type"`
	Version string `json:"version,omitempty"`
}

type ocsfAttack struct {
	Technique ocsfTechnique `json:"technique"`
}

type ocsfTechnique struct {
	UID string `json:"uid"`
}

type ocsfEvidence struct {
	Source *ocsfEndpoint     `json:"src_endpoint,omitempty"`
	Data   map[string]string `json:"data,omitempty"`
}

type ocsfEndpoint struct {
	IP       string        `json:"ip"`
	Location *ocsfLocation `json:"location,omitempty"`
	AS       *ocsfAS       `json:"autonomous_system,omitempty"`
}

type ocsfLocation struct {
	Country string  `json:"country"`
	Lat     float32 `json:"lat,omitempty"`
	Long    float32 `json:"long,omitempty"`
}

type ocsfAS struct {
	Number int64  `json:"number"`
	Name   string `json:"name,omitempty"`
}

type ocsfObservable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

type ocsfRemediation struct {
	Desc string `json:"desc"`
}

// toOCSF returns an alert as a Detection Finding. What asks for remediation is
// of high severity, the rest of medium: scenarios know no other scale.
func toOCSF(a *pipeline.Alert) *ocsfFinding {
	f := &ocsfFinding{
		ActivityID: ocsfActivityCreate, ActivityName: "Create",
		CategoryUID: ocsfCategoryFindings, CategoryName: "Findings",
		ClassUID: ocsfClassDetection, ClassName: "Detection Finding",
		TypeUID: ocsfClassDetection*100 + ocsfActivityCreate, TypeName: "Detection Finding: Create",
		SeverityID: ocsfSeverityMedium, Severity: "Medium", StatusID: ocsfStatusNew, Status: "New",
		IsAlert: !a.Simulated, Message: a.Message, Time: millis(a.StopAt), StartTime: millis(a.StartAt), EndTime: millis(a.StopAt),
		Count:    a.EventsCount,
		Metadata: ocsfMetadata{Version: ocsfVersion, UID: a.UUID, Product: ocsfProduct{product, vendor}},
		Info: ocsfInfo{
			UID: a.UUID, Title: a.Scenario, Desc: a.Message, Created: millis(a.CreatedAt), FirstSeen: millis(a.StartAt), LastSeen: millis(a.StopAt),
			Analytic: ocsfAnalytic{Name: a.Scenario, UID: a.ScenarioHash, TypeID: ocsfAnalyticRule, Type: "Rule", Version: a.ScenarioVersion},
		},
		Unmapped: map[string]any{"decisions": a.Decisions, "meta": a.Meta, "simulated": a.Simulated, "source": a.Source},
	}
	if a.Remediation {
		f.SeverityID, f.Severity = ocsfSeverityHigh, "High"
	}
	if n, ok := confidence(a); ok {
		f.ConfidenceID, f.Confidence = &n, [...]string{"Unknown", "Low", "Medium", "High"}[n]
	}
	if behavior := label(a, "behavior"); behavior != "" {
		f.Info.Types = []string{behavior}
	}
	for _, t := range techniques(a) {
		f.Info.Attacks = append(f.Info.Attacks, ocsfAttack{ocsfTechnique{t}})
	}
	if text := remedies(a); text != "" {
		f.Remediation = &ocsfRemediation{text}
	}
	f.addSource(a)
	return f
}

// addSource adds what is known of whom the alert is about.
func (f *ocsfFinding) addSource(a *pipeline.Alert) {
	s := a.Source
	if s == nil {
		return
	}
	about := ocsfObservable{Name: "source.value", TypeID: ocsfObservableOther, Type: s.Scope, Value: s.Value}
	evidence := ocsfEvidence{Data: map[string]string{"scope": s.Scope, "value": s.Value}}
	if addr, ok := address(s); ok {
		evidence.Source = &ocsfEndpoint{IP: addr.String()}
		if s.Cn != "" {
			evidence.Source.Location = &ocsfLocation{Country: s.Cn, Lat: s.Latitude, Long: s.Longitude}
		}
		if n := asNumber(s); n > 0 {
			evidence.Source.AS = &ocsfAS{n, s.AsName}
		}
		f.Observables = append(f.Observables, ocsfObservable{"evidences[].src_endpoint.ip", ocsfObservableIP, "IP Address", addr.String()})
	}
	f.Evidences = []ocsfEvidence{evidence}
	switch {
	case s.Range != "":
		f.Observables = append(f.Observables, ocsfObservable{"unmapped.source.range", ocsfObservableSubnet, "Subnet", s.Range})
	case len(f.Observables) == 0:
		f.Observables = append(f.Observables, about)
	}
}
