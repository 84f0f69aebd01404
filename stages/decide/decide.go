package decide

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/duration"
	"sluice/stages/expression"
)

// Profile says which alerts lead to which decisions.
type Profile struct {
	// Name is for logs and errors.
	Name string `yaml:"name"`
	// Filters are expressions over Alert; each one that holds applies the profile's decisions.
	Filters []string `yaml:"filters"`
	// Decisions are made for the alert's source.
	Decisions []Template `yaml:"decisions"`
	// DurationExpr, when set, gives the decisions' duration, e.g. "Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)".
	DurationExpr string `yaml:"duration_expr"`
	// OnSuccess is continue (the default) or break: what happens to later profiles when a filter held.
	OnSuccess string `yaml:"on_success"`
	// OnFailure is continue (the default), break, or apply: what happens when no filter held.
	OnFailure string `yaml:"on_failure"`
	// Notifications name the sinks that get the alert. Without any, every sink does.
	Notifications []string `yaml:"notifications"`
	// Debug is CrowdSec's; it changes nothing here: sluice explain shows what it would log.
	Debug bool `yaml:"debug"`
}

// Template is one decision of a profile.
type Template struct {
	Type      string `yaml:"type"`      // ban, captcha, throttle, …
	Duration  string `yaml:"duration"`  // 4h when neither it nor duration_expr is set
	Scope     string `yaml:"scope"`     // the alert's own when empty
	Origin    string `yaml:"origin"`    // added to the origin after a slash
	Simulated bool   `yaml:"simulated"` // recorded, not to be enforced
}

// DefaultDuration is a decision's when its profile says nothing.
const DefaultDuration = "4h"

// DefaultProfiles ban the address or range of every alert that asks for remediation.
func DefaultProfiles() []Profile {
	return []Profile{
		{
			Name:      "default_ip",
			Filters:   []string{`Alert.Remediation == true && Alert.GetScope() == "Ip"`},
			Decisions: []Template{{Type: "ban", Duration: DefaultDuration}},
			OnSuccess: "break",
		},
		{
			Name:      "default_range",
			Filters:   []string{`Alert.Remediation == true && Alert.GetScope() == "Range"`},
			Decisions: []Template{{Type: "ban", Duration: DefaultDuration}},
			OnSuccess: "break",
		},
	}
}

// Decider runs the profiles. It is immutable; the Ledger is what changes.
type Decider struct {
	profiles []profile
	allowed  *allowlist.Set
	ledger   *Ledger
}

type profile struct {
	Profile
	filters  []*expression.ViewProgram
	duration *expression.ViewProgram
}

// New compiles the profiles and the allow-lists. The ledger remembers the decisions made, for
// GetDecisionsCount and its kin; the compiler must know those helpers through it.
func New(profiles []Profile, lists []Allowlist, c *expression.Compiler, ledger *Ledger) (*Decider, error) {
	allowed, err := CompileAllowlists(lists, Conditions(c))
	if err != nil {
		return nil, err
	}
	d := &Decider{ledger: ledger, allowed: allowed}
	for i, p := range profiles {
		if p.Name == "" {
			p.Name = "profile " + strconv.Itoa(i+1)
		}
		compiled, err := compileProfile(p, c)
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", p.Name, err)
		}
		d.profiles = append(d.profiles, compiled)
	}
	return d, nil
}

func compileProfile(p Profile, c *expression.Compiler) (profile, error) {
	out := profile{Profile: p}
	if !slices.Contains([]string{"", "continue", "break"}, p.OnSuccess) {
		return out, fmt.Errorf("on_success is %q; it can be continue or break", p.OnSuccess)
	}
	if !slices.Contains([]string{"", "continue", "break", "apply"}, p.OnFailure) {
		return out, fmt.Errorf("on_failure is %q; it can be continue, break or apply", p.OnFailure)
	}
	if len(p.Filters) == 0 {
		return out, errors.New("it has no filters; write filters: [\"true\"] to take every alert")
	}
	env := map[string]any{"Alert": &pipeline.Alert{}}
	for _, f := range p.Filters {
		prog, err := c.CompileView(f, env)
		if err != nil {
			return out, fmt.Errorf("filter %q: %w", f, err)
		}
		out.filters = append(out.filters, prog)
	}
	if p.DurationExpr != "" {
		prog, err := c.CompileView(p.DurationExpr, env)
		if err != nil {
			return out, fmt.Errorf("duration_expr %q: %w", p.DurationExpr, err)
		}
		out.duration = prog
	}
	for i, t := range p.Decisions {
		if t.Type == "" {
			return out, fmt.Errorf("decision %d has no type, such as ban or captcha", i+1)
		}
		if t.Duration == "" {
			out.Decisions = slices.Clone(out.Decisions)
			out.Decisions[i].Duration = DefaultDuration
		} else if _, err := length(t.Duration); err != nil {
			return out, fmt.Errorf("decision %d: %w", i+1, err)
		}
	}
	return out, nil
}

// Verdict is what the profiles say of an alert.
type Verdict struct {
	Decisions []pipeline.Decision
	// Allowed is the item of an allow-list for which nothing is decided, and its list; empty without one.
	Allowed string
	// Notify names the sinks that get the alert; nil means all.
	Notify []string
	// Errors are conditions of allow-lists, which then except nothing, and filters and duration expressions that failed; the profile then did not apply.
	Errors []error
}

// Decide runs the profiles on one alert, in order, and records the decisions in the ledger.
func (d *Decider) Decide(alert *pipeline.Alert) Verdict { return d.DecideUnless(alert, "") }

// DecideUnless is Decide. Where an allow-list excepts the alert, as of the alert's own
// time, profiles only say who is told: nothing is decided, and nothing recorded.
// allowed is the item of another list that does, empty for none.
func (d *Decider) DecideUnless(alert *pipeline.Alert, allowed string) Verdict {
	v := Verdict{Allowed: allowed}
	if allowed == "" {
		m, ok, err := d.allowed.Allows(alert, alert.Sluice.StopTime)
		if err != nil {
			v.Errors = append(v.Errors, err)
		}
		if ok {
			v.Allowed = m.String()
		}
	}
	env := map[string]any{"Alert": alert}
	for i := range d.profiles {
		p := &d.profiles[i]
		held, failed := false, false
		for j, f := range p.filters {
			out, err := f.Eval(env)
			ok, isBool := out.(bool)
			if err == nil && !isBool {
				err = fmt.Errorf("it gives %T, not a bool", out)
			}
			if err != nil {
				v.Errors = append(v.Errors, fmt.Errorf("profile %s: filter %q: %w", p.Name, p.Filters[j], err))
				failed = true
				break
			}
			if ok {
				held = true
				d.apply(p, alert, env, &v)
			} else if p.OnFailure == "break" {
				break
			}
		}
		if !held && !failed && p.OnFailure == "apply" {
			d.apply(p, alert, env, &v)
		}
		if held && p.OnSuccess == "break" || !held && p.OnFailure == "break" {
			break
		}
	}
	if v.Allowed != "" {
		v.Decisions = nil
	}
	for i := range v.Decisions {
		d.ledger.record(&v.Decisions[i], alert.Sluice.StopTime)
	}
	return v
}

func (d *Decider) apply(p *profile, alert *pipeline.Alert, env map[string]any, v *Verdict) {
	for _, n := range p.Notifications {
		if !slices.Contains(v.Notify, n) {
			v.Notify = append(v.Notify, n)
		}
	}
	for _, t := range p.Decisions {
		lasting := t.Duration
		if p.duration != nil {
			out, err := p.duration.Eval(env)
			text := fmt.Sprint(out)
			if err == nil {
				_, err = length(text)
			}
			if err != nil {
				v.Errors = append(v.Errors, fmt.Errorf("profile %s: duration_expr: %w; %s is used", p.Name, err, lasting))
			} else {
				lasting = text
			}
		}
		v.Decisions = append(v.Decisions, decision(t, alert, lasting, len(v.Decisions)))
	}
}

// length reads how long a decision lasts: more than nothing, since a decision
// that ran out before it was made helps nobody.
func length(s string) (time.Duration, error) {
	d, err := duration.Parse(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("duration %q: a decision must last longer than that", s)
	}
	return d, err
}

// decisionSpace is the namespace of decision ids.
var decisionSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("sluice:decision"))

func decision(t Template, alert *pipeline.Alert, lasting string, ordinal int) pipeline.Decision {
	out := pipeline.Decision{
		UUID:      uuid.NewSHA1(decisionSpace, []byte(alert.UUID+"/"+strconv.Itoa(ordinal))).String(),
		Origin:    "crowdsec",
		Type:      t.Type,
		Scope:     t.Scope,
		Value:     alert.GetValue(),
		Duration:  lasting,
		Scenario:  alert.Scenario,
		Simulated: t.Simulated || alert.Simulated,
	}
	if t.Origin != "" {
		out.Origin += "/" + t.Origin
	}
	if out.Scope == "" {
		out.Scope = alert.GetScope()
	}
	if d, err := length(lasting); err == nil {
		// Event time: the same in every run.
		out.Until = alert.Sluice.StopTime.Add(d).UTC().Format(time.RFC3339Nano)
	}
	return out
}
