package format

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ocsfFacts are the facts of the published schema that findings use: names,
// types, what is required, and the numbers that are defined.
type ocsfFacts struct {
	Version     string
	CategoryUID int `json:"category_uid"`
	ClassUID    int `json:"class_uid"`
	Class       map[string]ocsfAttribute
	Objects     map[string]map[string]ocsfAttribute
	Constraints map[string]map[string][]string
}

type ocsfAttribute struct {
	Type        string
	Array       bool
	Requirement string
	Enum        map[string]string
}

func TestFindingsAreWhatTheSchemaSays(t *testing.T) {
	text, err := os.ReadFile("testdata/ocsf-1.7.0.json")
	if err != nil {
		t.Fatal(err)
	}
	var facts ocsfFacts
	if err := json.Unmarshal(text, &facts); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts() {
		line, err := OCSF.Append(nil, &a)
		if err != nil {
			t.Fatal(err)
		}
		var finding map[string]any
		if err := json.Unmarshal(line, &finding); err != nil {
			t.Fatal(err)
		}
		for _, problem := range facts.problems("", finding, facts.Class, nil) {
			t.Error(problem)
		}
		if finding["category_uid"] != float64(facts.CategoryUID) || finding["class_uid"] != float64(facts.ClassUID) ||
			finding["type_uid"] != finding["class_uid"].(float64)*100+finding["activity_id"].(float64) ||
			finding["metadata"].(map[string]any)["version"] != facts.Version {
			t.Errorf("the class is not that of the schema: %s", line)
		}
	}
	// The check itself must see what is wrong.
	wrong := map[string]any{"activity_id": float64(7), "nothing": 1, "message": 5, "metadata": map[string]any{"version": "x"}}
	got := strings.Join(facts.problems("", wrong, facts.Class, nil), "\n")
	for _, want := range []string{"activity_id: 7 is not defined", "nothing: the schema has no such", "message: 5 is no string_t",
		"finding_info is required", "metadata.product is required"} {
		if !strings.Contains(got, want) {
			t.Errorf("the check does not say %q:\n%s", want, got)
		}
	}
}

func (f *ocsfFacts) problems(path string, object map[string]any, attributes map[string]ocsfAttribute, constraints map[string][]string) (out []string) {
	for name, value := range object {
		at, known := attributes[name]
		if !known {
			out = append(out, path+name+": the schema has no such attribute here")
			continue
		}
		values, isArray := value.([]any)
		if isArray != at.Array {
			out = append(out, fmt.Sprintf("%s%s: array is %v, want %v", path, name, isArray, at.Array))
			continue
		}
		if !isArray {
			values = []any{value}
		}
		for _, v := range values {
			out = append(out, f.value(path+name, v, at)...)
		}
	}
	for name, at := range attributes {
		if _, there := object[name]; !there && at.Requirement == "required" {
			out = append(out, path+name+" is required")
		}
	}
	if one := constraints["at_least_one"]; len(one) > 0 && !slices.ContainsFunc(one, func(name string) bool { return object[name] != nil }) {
		out = append(out, path+": one is required of "+strings.Join(one, ", "))
	}
	return out
}

func (f *ocsfFacts) value(path string, v any, at ocsfAttribute) []string {
	if attributes, ok := f.Objects[at.Type]; ok {
		object, ok := v.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %v is no object", path, v)}
		}
		return f.problems(path+".", object, attributes, f.Constraints[at.Type])
	}
	text, isText := v.(string)
	number, isNumber := v.(float64)
	ok := false
	switch at.Type {
	case "string_t", "hostname_t", "url_t":
		ok = isText
	case "ip_t":
		_, err := netip.ParseAddr(text)
		ok = isText && err == nil
	case "integer_t", "long_t", "timestamp_t", "port_t":
		ok = isNumber && number == float64(int64(number))
	case "float_t":
		ok = isNumber
	case "boolean_t":
		_, ok = v.(bool)
	case "json_t", "object":
		ok = true
	}
	if !ok {
		return []string{fmt.Sprintf("%s: %v is no %s", path, v, at.Type)}
	}
	if _, defined := at.Enum[strconv.FormatFloat(number, 'f', -1, 64)]; isNumber && len(at.Enum) > 0 && !defined && !openEnum(path) {
		return []string{fmt.Sprintf("%s: %v is not defined", path, v)}
	}
	return nil
}

// openEnum tells of the numbers that the schema defines elsewhere: those of
// classes and categories by their files, those of observables by their types.
func openEnum(path string) bool {
	return slices.Contains([]string{"category_uid", "class_uid", "type_uid", "observables.type_id"}, path)
}
