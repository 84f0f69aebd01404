package funcs

import (
	"net/url"
	"strings"
)

func uriTable() []Function {
	return []Function{
		pure1("PathEscape", url.PathEscape),
		pure1("QueryEscape", url.QueryEscape),
		pure1("PathUnescape", pathUnescape),
		pure1("QueryUnescape", queryUnescape),
		pure1("ParseUri", parseURI),
		pure1("ParseQuery", laxQuery),
		pure2("ExtractQueryParam", extractQueryParam),
	}
}

// pathUnescape gives its argument back unchanged when it is not well escaped.
func pathUnescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

// queryUnescape is pathUnescape that also reads + as a space.
func queryUnescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// parseURI returns the parameters of a URI's query, none when any part of it is malformed.
func parseURI(uri string) map[string][]string {
	u, err := url.Parse(uri)
	if err != nil {
		return map[string][]string{}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return map[string][]string{}
	}
	return query
}

// laxQuery reads a query as applications do, not as the standard asks: a
// semicolon is part of a value, and a bad escape stands for itself.
func laxQuery(query string) url.Values {
	values := make(url.Values)
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		key = laxUnescape(key)
		values[key] = append(values[key], laxUnescape(value))
	}
	return values
}

func laxUnescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// hexDigit returns a digit's value, -1 for what is none.
func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// extractQueryParam returns the values of a parameter behind the first ? of a URI.
func extractQueryParam(uri, name string) []string {
	_, query, _ := strings.Cut(uri, "?")
	if values, ok := laxQuery(query)[name]; ok {
		return values
	}
	return []string{}
}
