package exec

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks/format"
	"sluice/sinks/internal/templates"
)

// data is what templates see.
type data struct {
	Alert    *pipeline.Alert
	Decision *pipeline.Decision // nil per alert
	Seconds  int64              // of the decision that are left, rounded up
}

// compiled are a configuration's templates.
type compiled struct {
	args  []argument
	names []string // of the environment, sorted
	env   []*template.Template
}

type argument struct {
	*template.Template
	dash bool // its template begins with a dash: so may what it gives
}

func (c *Config) compile() (*compiled, error) {
	functions := templates.Functions(format.Sluice)
	out := &compiled{names: slices.Sorted(maps.Keys(c.Environment))}
	for i, text := range c.Args {
		t, err := templates.Parse(fmt.Sprintf("args[%d]", i), text, functions)
		if err != nil {
			return nil, component.Invalid("args", "argument %d is no template: %v", i+1, err)
		}
		out.args = append(out.args, argument{t, strings.HasPrefix(text, "-")})
	}
	for _, name := range out.names {
		t, err := templates.Parse("environment "+name, c.Environment[name], functions)
		if err != nil {
			return nil, component.Invalid("environment", "%s is no template: %v", name, err)
		}
		out.env = append(out.env, t)
	}
	return out, c.try(out)
}

// try runs the templates on specimens. An error blames the key of one that fails on every alert.
func (c *Config) try(t *compiled) error {
	for _, a := range templates.Specimens() {
		d := data{Alert: a}
		if c.Per == perDecision {
			if len(a.Decisions) == 0 {
				continue // then nothing is run
			}
			d.Decision, d.Seconds = &a.Decisions[0], 1
		}
		for i := range t.args {
			if err := templates.Try(t.args[i].Template, &d); err != nil {
				return component.Invalid("args", "argument %d fails on every alert: %v%s", i+1, err, c.remedy(err))
			}
		}
		for i, name := range t.names {
			if err := templates.Try(t.env[i], &d); err != nil {
				return component.Invalid("environment", "%s fails on every alert: %v%s", name, err, c.remedy(err))
			}
		}
	}
	return nil
}

// remedy is what helps where there is no decision, if that is what is wrong.
func (c *Config) remedy(err error) string {
	if c.Per == perAlert && strings.Contains(err.Error(), ".Decision") {
		return "; there is a decision with per: decision only"
	}
	return ""
}

// arguments are those of one run.
func (c *compiled) arguments(d *data) ([]string, error) {
	out := make([]string, 0, len(c.args))
	for i := range c.args {
		text, err := render(c.args[i].Template, d)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(text, "-") && !c.args[i].dash {
			return nil, fmt.Errorf("argument %d would be %q, which the program would take for an option", i+1, text)
		}
		out = append(out, text)
	}
	return out, nil
}

// inherited are the variables that a command gets of ours: no other, since they may hold secrets.
var inherited = [...]string{"PATH", "HOME", "LANG", "TZ"}

func (c *compiled) environment(d *data) ([]string, error) {
	var out []string
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	for i, name := range c.names {
		text, err := render(c.env[i], d)
		if err != nil {
			return nil, err
		}
		out = append(out, name+"="+text)
	}
	return out, nil
}

func render(t *template.Template, d *data) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, d); err != nil {
		return "", fmt.Errorf("its template %s fails on it: %w", t.Name(), err)
	}
	if strings.Contains(out.String(), "\x00") {
		return "", fmt.Errorf("its template %s gives a NUL, which no argument or variable can hold", t.Name())
	}
	return out.String(), nil
}

// left returns for how many seconds a decision still holds; false when it holds no more.
func left(d *pipeline.Decision, now time.Time) (int64, bool) {
	until, err := time.Parse(time.RFC3339Nano, d.Until)
	if err != nil {
		return 0, true // it does not say, and is the receiver's to judge
	}
	rest := until.Sub(now)
	return int64(math.Ceil(rest.Seconds())), rest > 0
}
