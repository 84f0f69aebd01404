package expression

import (
	"time"

	"github.com/expr-lang/expr"

	"sluice/pipeline"
	"sluice/pipeline/duration"
	"sluice/stages/expression/funcs"
)

// Names of the functions that the patcher puts in place of reads of evt.
const (
	fnSlot        = "sluice_slot"
	fnHas         = "sluice_has"
	fnGetMeta     = "sluice_get_meta"
	fnSet         = "sluice_set"
	fnType        = "sluice_type"
	fnTypeNumber  = "sluice_type_number"
	fnTime        = "sluice_time"
	fnReceived    = "sluice_received"
	fnWhitelisted = "sluice_whitelisted"
	fnField       = "sluice_field"
	fnSpace       = "sluice_space"
	fnAppsec      = "sluice_appsec"
)

// contextual are the helpers that get the Context as their first argument,
// put there by the patcher.
var contextual = map[string]bool{
	"GetFromStash": true, "SetInStash": true, "GetDecisionsCount": true, "GetDecisionsSinceCount": true,
	"GetActiveDecisionsCount": true, "GetActiveDecisionsTimeLeft": true,
}

func contextOptions() []expr.Option {
	return []expr.Option{
		expr.Function(fnSlot, func(a ...any) (any, error) {
			return a[0].(*Context).Event.Get(pipeline.Slot(a[1].(int))), nil
		}, new(func(*Context, int) string)),
		expr.Function(fnHas, func(a ...any) (any, error) {
			return a[0].(*Context).Event.Has(pipeline.Slot(a[1].(int))), nil
		}, new(func(*Context, int) bool)),
		expr.Function(fnGetMeta, func(a ...any) (any, error) {
			ev := a[0].(*Context).Event
			if ev.Type == pipeline.OverflowEvent {
				return ev.View().GetMeta(a[1].(string)), nil
			}
			v, _ := ev.Field(pipeline.Meta, a[1].(string))
			return v, nil
		}, new(func(*Context, string) string)),
		expr.Function(fnSet, set, new(func(*Context, int, string, string) bool)),
		expr.Function(fnField, field, new(func(*Context, int, string) string)),
		expr.Function(fnSpace, func(a ...any) (any, error) {
			return space(a[0].(*Context).Event, pipeline.Namespace(a[1].(int))), nil
		}, new(func(*Context, int) map[string]string)),
		expr.Function(fnAppsec, func(...any) (any, error) { return &Appsec{}, nil }, new(func(*Context) *Appsec)),
		expr.Function(fnType, func(a ...any) (any, error) { return typeName(a[0].(*Context)), nil }, new(func(*Context) string)),
		expr.Function(fnTypeNumber, func(a ...any) (any, error) { return int(a[0].(*Context).Event.Type), nil }, new(func(*Context) int)),
		expr.Function(fnTime, func(a ...any) (any, error) { return a[0].(*Context).Event.Time, nil }, new(func(*Context) time.Time)),
		expr.Function(fnReceived, func(a ...any) (any, error) { return a[0].(*Context).Event.Received, nil }, new(func(*Context) time.Time)),
		expr.Function(fnWhitelisted, func(a ...any) (any, error) { return a[0].(*Context).Event.Whitelisted, nil }, new(func(*Context) bool)),

		expr.Function("GetFromStash", func(a ...any) (any, error) {
			ctx := a[0].(*Context)
			if ctx.Stash == nil {
				return "", nil
			}
			v, _ := ctx.Stash.Get(a[1].(string), a[2].(string))
			return v, nil
		}, new(func(*Context, string, string) string)),
		expr.Function("SetInStash", func(a ...any) (any, error) {
			ctx := a[0].(*Context)
			if ctx.Stash == nil {
				return nil, nil
			}
			var ttl time.Duration
			switch d := a[4].(type) {
			case time.Duration:
				ttl = d
			case *time.Duration:
				if d != nil {
					ttl = *d
				}
			}
			return nil, ctx.Stash.Set(a[1].(string), a[2].(string), a[3].(string), ttl)
		}, new(func(*Context, string, string, string, time.Duration) error),
			new(func(*Context, string, string, string, *time.Duration) error)),
		expr.Function("GetDecisionsCount", decisionsCount(Decisions.Count), new(func(*Context, string) int)),
		expr.Function("GetActiveDecisionsCount", decisionsCount(Decisions.ActiveCount), new(func(*Context, string) int)),
		expr.Function("GetDecisionsSinceCount", func(a ...any) (any, error) {
			d := a[0].(*Context).Decisions
			since, err := duration.Parse(a[2].(string))
			if err != nil || d == nil {
				return 0, nil // CrowdSec logs a bad duration and answers 0
			}
			return d.SinceCount(a[1].(string), since)
		}, new(func(*Context, string, string) int)),
		expr.Function("GetActiveDecisionsTimeLeft", func(a ...any) (any, error) {
			d := a[0].(*Context).Decisions
			if d == nil {
				return time.Duration(0), nil
			}
			return d.ActiveTimeLeft(a[1].(string))
		}, new(func(*Context, string) time.Duration)),
	}
}

func decisionsCount(count func(Decisions, string) (int, error)) func(a ...any) (any, error) {
	return func(a ...any) (any, error) {
		d := a[0].(*Context).Decisions
		if d == nil {
			return 0, nil
		}
		return count(d, a[1].(string))
	}
}

// set writes a field of the event, and of the View that the running program
// looks at, if any.
func set(a ...any) (any, error) {
	ctx, space, name, value := a[0].(*Context), pipeline.Namespace(a[1].(int)), a[2].(string), a[3].(string)
	ctx.Event.SetField(space, name, value)
	if v := ctx.env.Evt; v != nil {
		m := v.Meta
		if space == pipeline.Parsed {
			m = v.Parsed
		}
		m[name] = value
	}
	return true, nil
}

// field reads a field whose name is known only now. nil names what the VM
// makes of a nil key of a map of strings: "".
func field(a ...any) (any, error) {
	name := ""
	if a[2] != nil {
		name = a[2].(string)
	}
	v, _ := a[0].(*Context).Event.Field(pipeline.Namespace(a[1].(int)), name)
	return v, nil
}

func space(ev *pipeline.Event, space pipeline.Namespace) map[string]string {
	m := make(map[string]string)
	ev.Each(space, func(name, value string) { m[name] = value })
	return m
}

func typeName(ctx *Context) string {
	if ctx.Event.Type == pipeline.OverflowEvent {
		return "overflow"
	}
	return "log"
}

func helperOptions(table []funcs.Function) []expr.Option {
	out := make([]expr.Option, len(table))
	for i, f := range table {
		out[i] = expr.Function(f.Name, f.Call, f.Types...)
	}
	return out
}
