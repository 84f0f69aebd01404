package localapi

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
)

// openapi describes all that Handler serves, for people, for programs, and for
// decodeAs. Tests hold it to the routes, to the published specification of
// CrowdSec's local API, and to what is answered.
//
//go:embed openapi.yaml
var openapi []byte

// description reads the description, once; it errs on one that is broken only.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	if err != nil {
		return nil, fmt.Errorf("the description of the local API: %w", err)
	}
	return doc, nil
})

// describe implements GET /openapi.yaml.
func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openapi) // who has gone away needs no answer
}

// decodeAs reads a body that the description has a schema of, and holds it to
// that; an error is answered and false returned. It is for small bodies: it
// takes a few microseconds for each value.
func (s *Sink) decodeAs(w http.ResponseWriter, r *http.Request, schema string, to any) bool {
	text, ok := readBody(w, r)
	if !ok {
		return false
	}
	var value any
	err := json.Unmarshal(text, &value)
	if err == nil {
		err = conforms(s.schemas[schema].Value, value)
	}
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the body is not what is expected: "+err.Error())
	}
	return err == nil
}

// conforms holds a value to a schema. The error names the place and what is
// wrong there, and does not repeat the value, which can be a password.
func conforms(schema *openapi3.Schema, value any) error {
	err := schema.VisitJSON(value, openapi3.VisitAsRequest())
	var wrong *openapi3.SchemaError
	if !errors.As(err, &wrong) {
		return err
	}
	if at := strings.Join(wrong.JSONPointer(), "/"); at != "" {
		return fmt.Errorf("%s: %s", at, wrong.Reason)
	}
	return errors.New(wrong.Reason)
}
