package httpd

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzText compares with what the standard library makes of a string.
func FuzzText(f *testing.F) {
	for _, s := range []string{`""`, `"a"`, `"\n\t\"\\\/\b\f\r"`, `"\u00fc\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ude00\ud83d"`, `"\x"`, `"\u12g4"`, `"a\\"`, `1`, `"\u+123"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if !json.Valid(value) || !utf8.Valid(value) || bytes.TrimSpace(value)[0] != '"' || len(bytes.TrimSpace(value)) != len(value) {
			return // it is for sound strings, whose bytes are passed on as they are
		}
		var want string
		if err := json.Unmarshal(value, &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := Text(value); !ok || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", value, got, ok, want)
		}
	})
}

func TestEscapesThatAreNone(t *testing.T) {
	for _, s := range []string{`"\x"`, `"\u12g4"`, `"\u123"`, `"\u+123"`, `"\"`, `x`, `"`} {
		if got, ok := Text([]byte(s)); ok {
			t.Errorf("%s is taken for %q", s, got)
		}
	}
}

func TestMembersAndElements(t *testing.T) {
	var got []string
	ok, err := Members([]byte(` { "a" : 1 , "b\n" : [ 1 , {"x":"}"} ] , "c":"]" } `), func(k, v []byte) error {
		got = append(got, string(k)+"="+string(v))
		return nil
	})
	if !ok || err != nil || len(got) != 3 || got[1] != "b\n=[ 1 , {\"x\":\"}\"} ]" || got[2] != `c="]"` {
		t.Errorf("got %q, %v, %v", got, ok, err)
	}
	got = nil
	ok, err = Elements([]byte("[ 1,\"a,b\" ,[],{} , null]"), func(v []byte) error {
		got = append(got, string(v))
		return nil
	})
	if !ok || err != nil || len(got) != 5 || got[1] != `"a,b"` || got[4] != "null" {
		t.Errorf("got %q, %v, %v", got, ok, err)
	}
	for _, text := range []string{"", "1", "[]"} {
		if ok, _ := Members([]byte(text), nil); ok {
			t.Errorf("%q is taken for an object", text)
		}
	}
}
