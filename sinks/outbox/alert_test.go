package outbox

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"sluice/pipeline"
)

// filled sets everything below a value to something of its own: no field is
// like another, and none is zero.
func filled(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d \xff", *n))
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(-1000 * *n))
	case reflect.Float32:
		v.SetFloat(float64(*n) / 4)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			filled(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]any{"label": "text", "list": []any{"a", 1.5, true, nil}}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return // not stored: the texts are
		}
		for i := range v.NumField() {
			filled(v.Field(i), n)
		}
	default:
		panic("the test does not know how to fill " + v.Type().String())
	}
}

func TestEveryFieldOfAnAlertIsStored(t *testing.T) {
	var want pipeline.Alert
	n := 0
	filled(reflect.ValueOf(&want).Elem(), &n)
	b, err := appendAlert(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAlert(b)
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for i := range b {
		if a, err := readAlert(b[:i]); err == nil {
			t.Fatalf("%d of %d bytes are read as %+v", i, len(b), a)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 10_000 { // damage is an error or another alert, and never a panic
		torn := append([]byte(nil), b...)
		for range 1 + random.IntN(4) {
			torn[random.IntN(len(torn))] = byte(random.Uint32())
		}
		_, _ = readAlert(torn)
	}
}

func TestEmptyListsOfAnAlertStayEmpty(t *testing.T) {
	for _, want := range []pipeline.Alert{
		{},
		{Labels: []string{}, Meta: []pipeline.MetaItem{}, Events: []pipeline.AlertEvent{}, Decisions: []pipeline.Decision{}},
		{Events: []pipeline.AlertEvent{{}, {Meta: []pipeline.MetaItem{}}}, Sluice: pipeline.AlertOrigin{Labels: map[string]any{}}},
	} {
		b, err := appendAlert(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAlert(b); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}
