package decide

import (
	"errors"
	"fmt"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// Condition is an expression over Alert that holds or does not, as the
// filters of profiles are.
type Condition struct{ program *expression.ViewProgram }

// NewCondition compiles a condition. An error of the expression is, or wraps, an *expression.Error with the place in it.
func NewCondition(src string, c *expression.Compiler) (*Condition, error) {
	program, err := c.CompileView(src, map[string]any{"Alert": &pipeline.Alert{}})
	if err != nil {
		return nil, err
	}
	condition := &Condition{program}
	// What is no condition at all shows on any alert. One with nothing in it
	// may fail for other reasons, which say nothing of real ones.
	if _, err := condition.Holds(&pipeline.Alert{}); errors.Is(err, errNoBool) {
		return nil, err
	}
	return condition, nil
}

var errNoBool = errors.New("it is no condition")

// Holds tells whether the condition holds for an alert. As for profiles, one
// goroutine asks at a time.
func (c *Condition) Holds(alert *pipeline.Alert) (bool, error) {
	out, err := c.program.Eval(map[string]any{"Alert": alert})
	if err != nil {
		return false, err
	}
	holds, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("%w: it gives %T, not a bool", errNoBool, out)
	}
	return holds, nil
}
