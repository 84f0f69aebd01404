package funcs

import "github.com/corazawaf/libinjection-go"

func libInjectionTable() []Function {
	return []Function{
		pure1("LibInjectionIsSQLI", func(s string) bool { is, _ := libinjection.IsSQLi(s); return is }),
		pure1("LibInjectionIsXSS", func(s string) bool { return libinjection.IsXSS(s) }),
	}
}
