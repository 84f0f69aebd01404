package kubernetesaudit

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sluice/sources/internal/httpd"
)

// What a body may be.
const (
	apiVersion = "audit.k8s.io/v1"
	kindList   = "EventList"
	kindEvent  = "Event"
)

// form writes an event as a record holds it; what it returns may alias the event.
type form func(event []byte) ([]byte, error)

// read makes records of an EventList, or of one Event.
func read(r *httpd.Request, as form) error {
	if r.ContentType != "application/json" && r.ContentType != "" {
		return httpd.Unsupported("audit events come as application/json, not %.100q", r.ContentType)
	}
	body, err := r.Whole()
	if err != nil {
		return err
	}
	if err := httpd.CheckJSON(body); err != nil {
		return httpd.Malformed("the body: %v", err)
	}
	var kind, version string
	var items []byte
	ok, err := httpd.Members(body, func(key, value []byte) error {
		switch text, _ := httpd.Text(value); string(key) {
		case "kind":
			kind = string(text)
		case "apiVersion":
			version = string(text)
		case "items":
			items = value
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !ok || version != apiVersion || kind != kindList && kind != kindEvent:
		return httpd.Malformed("the body is a %.100q of %.100q, and not an EventList of %s", kind, version, apiVersion)
	}
	g, err := r.Batch.Group()
	if err != nil {
		return err
	}
	number := 0
	add := func(event []byte) error {
		number++
		if event[0] != '{' {
			return httpd.Malformed("event %d is no object", number)
		}
		line, err := as(event)
		if err != nil {
			return httpd.Malformed("event %d: %v", number, err)
		}
		if len(line) > 0 && &line[0] != &event[0] {
			if err := r.Batch.Reserve(cap(line)); err != nil {
				return err
			}
		}
		return g.Add(line, r.Batch.Now(), nil)
	}
	if kind == kindEvent {
		return add(bytes.TrimSpace(body))
	}
	if items == nil || bytes.Equal(items, []byte("null")) { // a list of none
		return nil
	}
	ok, err = httpd.Elements(items, add)
	if err == nil && !ok {
		err = httpd.Malformed("items is no array")
	}
	return err
}

// asSent leaves an event as it is, but on one line.
func asSent(event []byte) ([]byte, error) {
	if bytes.IndexByte(event, '\n') < 0 {
		return event, nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, event); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// asCrowdSec writes an event with the names that the fields of Kubernetes'
// internal types have, which are what CrowdSec's source gives.
func asCrowdSec(event []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := rename(&out, event, eventNames); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// The names of fields; those that are not here stay as they are.
var (
	eventNames = map[string]string{
		"level": "Level", "auditID": "AuditID", "stage": "Stage", "requestURI": "RequestURI", "verb": "Verb", "user": "User",
		"impersonatedUser": "ImpersonatedUser", "sourceIPs": "SourceIPs", "userAgent": "UserAgent", "objectRef": "ObjectRef",
		"responseStatus": "ResponseStatus", "requestObject": "RequestObject", "responseObject": "ResponseObject",
		"requestReceivedTimestamp": "RequestReceivedTimestamp", "stageTimestamp": "StageTimestamp", "annotations": "Annotations",
	}
	referenceNames = map[string]string{
		"resource": "Resource", "namespace": "Namespace", "name": "Name", "uid": "UID", "apiGroup": "APIGroup", "apiVersion": "APIVersion",
		"resourceVersion": "ResourceVersion", "subresource": "Subresource",
	}
)

// rename writes a sound object with other names.
func rename(out *bytes.Buffer, object []byte, names map[string]string) error {
	out.WriteByte('{')
	first := true
	ok, err := httpd.Members(object, func(key, value []byte) error {
		if !first {
			out.WriteByte(',')
		}
		first = false
		name := string(key)
		if other, ok := names[name]; ok {
			name = other
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return err
		}
		out.Write(quoted)
		out.WriteByte(':')
		if name == "ObjectRef" && value[0] == '{' {
			return rename(out, value, referenceNames)
		}
		return json.Compact(out, value)
	})
	if err == nil && !ok {
		err = fmt.Errorf("it is no object")
	}
	out.WriteByte('}')
	return err
}
