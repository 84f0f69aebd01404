package localapi

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestTheDescriptionIsSound validates it, and reads it as a client does.
func TestTheDescriptionIsSound(t *testing.T) {
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	s := newServer(t, nil, nil)
	s.want(200, nobody, "GET", "/openapi.yaml", "", "openapi: 3.0.3", "/v1/verdict/{path}")
}

// parameterName is a path's parameter, which our routes and the description may name differently.
var parameterName = regexp.MustCompile(`\{[^}]*\}`)

// TestEveryRouteIsDescribed compares the description with the routes: each has
// the operations of the other. A route of GET answers HEAD as well, described or not.
func TestEveryRouteIsDescribed(t *testing.T) {
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	described := make(map[string]bool)
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described[method+" "+parameterName.ReplaceAllString(path, "{}")] = true
		}
	}
	served := make(map[string]bool)
	for _, r := range newServer(t, nil, nil).routes() {
		served[parameterName.ReplaceAllString(r.pattern, "{}")] = true
	}
	for _, path := range []string{verdictPath, verdictPath + "/{}"} { // asksVerdict takes every method
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			served[method+" "+path] = true
		}
	}
	for _, op := range slices.Sorted(maps.Keys(served)) {
		if !described[op] {
			t.Errorf("%s is served and not described", op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(described)) {
		get := strings.Replace(op, "HEAD ", "GET ", 1)
		if !served[op] && !served[get] {
			t.Errorf("%s is described and not served", op)
		}
	}
}

// TestWhatIsNotServedIsAnError asks for paths and methods that there are none of.
func TestWhatIsNotServedIsAnError(t *testing.T) {
	s := newServer(t, nil, nil)
	s.want(404, machine, "GET", "/v1/nothing", "", `{"message":"nothing is served there"}`)
	s.want(404, nobody, "GET", "/", "", "message")
	s.want(405, machine, "PUT", "/v1/alerts", "", `"message":"PUT is not for this path, but DELETE, GET, HEAD, POST"`)
	req := s.request(nobody, http.MethodPatch, "/v1/heartbeat", "")
	res, err := s.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.Header.Get("Allow") != "GET, HEAD" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", res.Header)
	}
}

// chosen are differences from the published specification that are meant, by
// the end of the place where they are found.
var chosen = map[string]string{
	"parameter since in query: format": "it is written date-time there, and CrowdSec's own clients send durations",
	"parameter until in query: format": "the same",
	"feature_flags: length":            "a list has no maxLength",
}

// TestTheDescriptionHoldsThePublishedOne compares them structurally: every
// operation, parameter, body, answer and property of the published
// specification is in ours in the same shape. Ours may say more: it may have more
// operations, parameters and answers, take null for what can be left out, as
// CrowdSec's server does, and bound (format, pattern, lengths) what the published one leaves open.
func TestTheDescriptionHoldsThePublishedOne(t *testing.T) {
	published := publishedSpec(t)
	if published == nil {
		t.Skip("skipped 1 part: the published specification is not at hand")
	}
	own, err := description()
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{t: t, used: make(map[string]bool), seen: make(map[[2]*openapi3.Schema]bool)}
	for path, item := range published.Paths.Map() {
		ours := own.Paths.Value("/v1" + path)
		if ours == nil {
			t.Errorf("%s is not described", path)
			continue
		}
		for method, want := range item.Operations() {
			c.where = method + " " + path
			if have := ours.GetOperation(method); have == nil {
				t.Errorf("%s is not described", c.where)
			} else {
				c.operation(want, have, slices.Concat(ours.Parameters, have.Parameters))
			}
		}
	}
	for place := range chosen {
		if !c.used[place] {
			t.Errorf("there is no such difference any more: %s", place)
		}
	}
}

// comparison collects where the description (have) lacks what is published (want).
type comparison struct {
	t     *testing.T
	where string
	used  map[string]bool
	seen  map[[2]*openapi3.Schema]bool
}

func (c *comparison) differs(place, format string, args ...any) {
	c.t.Helper()
	for end := range chosen {
		if strings.HasSuffix(place, end) {
			c.used[end] = true
			return
		}
	}
	c.t.Errorf("%s: %s: %s", c.where, place, fmt.Sprintf(format, args...))
}

func (c *comparison) operation(want, have *openapi3.Operation, parameters openapi3.Parameters) {
	for _, p := range want.Parameters {
		place := fmt.Sprintf("parameter %s in %s", p.Value.Name, p.Value.In)
		got := parameters.GetByInAndName(p.Value.In, p.Value.Name)
		if got == nil {
			c.differs(place, "it is not there")
			continue
		}
		if got.Required != p.Value.Required {
			c.differs(place, "required is %v, published is %v", got.Required, p.Value.Required)
		}
		c.schema(place, p.Value.Schema, got.Schema)
	}
	if want.RequestBody != nil {
		if have.RequestBody == nil || !have.RequestBody.Value.Required {
			c.differs("request", "it takes no body, or does not need one")
		} else {
			c.content("request", want.RequestBody.Value.Content, have.RequestBody.Value.Content)
		}
	}
	for status, answer := range want.Responses.Map() {
		got := have.Responses.Value(status)
		if got == nil {
			c.differs("answer "+status, "it is not there")
			continue
		}
		c.content("answer "+status, answer.Value.Content, got.Value.Content)
	}
	if want.Security != nil && len(*want.Security) != len(*have.Security) {
		c.differs("security", "%v, published is %v", *have.Security, *want.Security)
	}
}

func (c *comparison) content(place string, want, have openapi3.Content) {
	for media, w := range want {
		h := have.Get(media)
		if h == nil {
			c.differs(place, "there is no %s", media)
			continue
		}
		c.schema(place, w.Schema, h.Schema)
	}
}

// merged returns a schema with what allOf adds to it.
func merged(s *openapi3.Schema) openapi3.Schema {
	out := *s
	out.Properties, out.Required = maps.Clone(s.Properties), slices.Clone(s.Required)
	if out.Properties == nil {
		out.Properties = openapi3.Schemas{}
	}
	for _, part := range s.AllOf {
		m := merged(part.Value)
		maps.Copy(out.Properties, m.Properties)
		out.Required = append(out.Required, m.Required...)
		if out.Type == nil {
			out.Type = m.Type
		}
	}
	slices.Sort(out.Required)
	return out
}

func (c *comparison) schema(place string, want, have *openapi3.SchemaRef) {
	if want == nil {
		return
	}
	if have == nil {
		c.differs(place, "it has no schema")
		return
	}
	if pair := [2]*openapi3.Schema{want.Value, have.Value}; c.seen[pair] {
		return
	} else {
		c.seen[pair] = true
	}
	w, h := merged(want.Value), merged(have.Value)
	if w.Type != nil && (h.Type == nil || !slices.Equal(*w.Type, *h.Type)) {
		c.differs(place, "its type is %v, published is %v", h.Type, w.Type)
	}
	if !slices.Equal(w.Required, h.Required) {
		c.differs(place, "it needs %v, published is %v", h.Required, w.Required)
	}
	if w.Format != "" && w.Format != h.Format {
		c.differs(place+": format", "it is %q, published is %q", h.Format, w.Format)
	}
	if w.ReadOnly != h.ReadOnly {
		c.differs(place, "readOnly is %v, published is %v", h.ReadOnly, w.ReadOnly)
	}
	if w.MinLength != 0 && w.MinLength != h.MinLength || w.MaxLength != nil && (h.MaxLength == nil || *w.MaxLength != *h.MaxLength) {
		c.differs(place+": length", "it differs from what is published")
	}
	for name, property := range w.Properties {
		if got := h.Properties[name]; got == nil {
			c.differs(place+": "+name, "it is not there")
		} else {
			c.schema(place+": "+name, property, got)
		}
	}
	for name := range h.Properties {
		if w.Properties[name] == nil {
			c.differs(place+": "+name, "it is not published")
		}
	}
	if w.Items != nil {
		if h.Items == nil {
			c.differs(place, "its items are not described")
		} else {
			c.schema(place+": items", w.Items, h.Items)
		}
	}
	if w.AdditionalProperties.Schema != nil {
		c.schema(place+": values", w.AdditionalProperties.Schema, h.AdditionalProperties.Schema)
	}
}
