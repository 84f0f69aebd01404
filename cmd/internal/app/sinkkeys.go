package app

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/outbox"
	"sluice/stages/decide"
	"sluice/stages/engine"
	"sluice/stages/expression"
)

// sinkKeys are the keys of every sink that the pipeline reads.
type sinkKeys struct {
	onFull outbox.Policy
	// when says which alerts are addressed to the sink; all are where it is empty.
	when         string
	line, column int // of when
	retry        outbox.Retry
	retryAt      place
	batching     outbox.Batching
	batchingAt   place
}

// place is where a key's value stands.
type place struct{ line, column int }

// placeOf returns the place of a value, the zero one where there is none.
func placeOf(node ast.Node) place {
	if node == nil {
		return place{}
	}
	at := node.GetToken().Position
	return place{at.Line, at.Column}
}

// takeSinkKeys splits a sink's mapping into the pipeline's keys and what the sink reads.
func takeSinkKeys(node ast.Node) (keys sinkKeys, rest ast.Node, err error) {
	taken, rest, err := component.Take(node, "on_full", "when", "retry", "batching")
	if err != nil {
		return keys, nil, err
	}
	keys.onFull = outbox.Block
	if err := component.Decode(taken["on_full"], &keys.onFull); err != nil {
		return keys, nil, err
	}
	keys.retry = outbox.DefaultRetry()
	if err := component.Decode(taken["retry"], &keys.retry); err != nil {
		return keys, nil, underKey("retry", err)
	}
	keys.retryAt = placeOf(taken["retry"])
	if err := component.Decode(taken["batching"], &keys.batching); err != nil {
		return keys, nil, underKey("batching", err)
	}
	keys.batchingAt = placeOf(taken["batching"])
	if when := taken["when"]; when != nil {
		at := when.GetToken().Position
		keys.line, keys.column = at.Line, at.Column
		if err := component.Decode(when, &keys.when); err != nil {
			return keys, nil, err
		}
		if keys.when == "" {
			return keys, nil, keys.refused(errors.New("it is empty; leave it out to send every alert"))
		}
	}
	return keys, rest, nil
}

// checkDeadLetters holds the bounds of retries to the place that what is given up goes to.
func (k *sinkKeys) checkDeadLetters(there bool) error {
	if there || !k.retry.Bounded() {
		return nil
	}
	return &component.ConfigError{Line: k.retryAt.line, Column: k.retryAt.column,
		Message: "retry: max_attempts and max_age leave alerts to the dead letters, and there are none; say under dead_letters where they go"}
}

// checkBatching refuses batching for a sink that gathers its batches itself.
func (k *sinkKeys) checkBatching(sink sinks.Sink) error {
	if _, own := sink.(sinks.Batcher); !own || k.batchingAt == (place{}) {
		return nil
	}
	return &component.ConfigError{Line: k.batchingAt.line, Column: k.batchingAt.column,
		Message: "batching: this type of sink has keys of its own for its batches; use those"}
}

// underKey says of an error in a mapping which key the mapping is of.
func underKey(key string, err error) error {
	var placed *component.ConfigError
	if errors.As(err, &placed) {
		inner := *placed
		inner.Message = key + ": " + inner.Message
		return &inner
	}
	return fmt.Errorf("%s: %w", key, err)
}

// refused blames when.
func (k *sinkKeys) refused(err error) error {
	var placed *expression.Error
	if errors.As(err, &placed) {
		err = fmt.Errorf("at line %d, column %d of the expression: %w", placed.Line, placed.Column, err)
	}
	return &component.ConfigError{Line: k.line, Column: k.column, Message: "when: " + err.Error()}
}

// addressee is a sink with the condition under which alerts are addressed to it; nil holds always.
type addressee struct {
	name      string
	keys      sinkKeys
	condition *decide.Condition
}

// addressed compiles the conditions of the sinks for an engine: they ask its decisions.
func (p *Pipeline) addressed(eng *engine.Engine) ([]addressee, error) {
	out := slices.Clone(p.addressees)
	for i := range out {
		if out[i].keys.when == "" {
			continue
		}
		var err error
		if out[i].condition, err = eng.Condition(out[i].keys.when); err != nil {
			return nil, out[i].keys.refused(err)
		}
	}
	return out, nil
}

// address names the sinks that an alert is for: those that the profiles notify,
// nil for all, without those whose condition does not hold. A condition that
// fails keeps no alert back: one too many is noticed, one too few is not.
func (p *Pipeline) address(a *pipeline.Alert, notify []string) []string {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	to, kept := make([]string, 0, len(p.addressees)), false
	for i := range p.addressees {
		s := &p.addressees[i]
		if notify != nil && !slices.Contains(notify, s.name) {
			continue
		}
		if s.condition != nil {
			holds, err := s.condition.Holds(a)
			if err != nil {
				p.log.Warn("a sink's condition failed, so the alert is sent", "sink", s.name, "scenario", a.Scenario, "error", err)
			} else if !holds {
				kept = true
				continue
			}
		}
		to = append(to, s.name)
	}
	if !kept {
		return notify
	}
	return to
}
