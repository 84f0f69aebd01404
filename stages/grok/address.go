package grok

import (
	"fmt"
	"strings"
)

// addressPatterns writes IPv6 addresses from their parts: k groups before
// the "::" (or none), and what may follow, an embedded IPv4 address included.
func addressPatterns() map[string]string {
	const hex = `[0-9A-Fa-f]{1,4}`
	const octet = `(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
	const dotted = octet + `(?:\.` + octet + `){3}`
	forms := []string{
		fmt.Sprintf(`(?:%s:){7}(?:%s|:)`, hex, hex),
		fmt.Sprintf(`(?:%s:){6}(?::%s|%s|:)`, hex, hex, dotted),
	}
	for k := 5; k >= 0; k-- {
		lead := fmt.Sprintf(`(?:%s:){%d}`, hex, k)
		if k == 0 {
			lead = `:`
		}
		room := 7 - k // groups that fit behind the gap
		forms = append(forms, fmt.Sprintf(`%s(?:(?::%s){1,%d}|(?::%s){0,%d}:%s|:)`, lead, hex, room, hex, room-2, dotted))
	}
	byteV4 := `(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)`
	return map[string]string{
		"IPV6": `(?:` + strings.Join(forms, "|") + `)(?:%.+)?`,
		"IPV4": `(?:` + byteV4 + `\.){3}` + byteV4,
	}
}
