package cloudtrail

import (
	"strings"
	"time"
)

// kind is what a file of a trail's bucket holds.
type kind int

const (
	unknown kind = iota // nothing in its key tells: it is taken for a log file
	trail
	insight
	digest
	foreign // of another service that writes below AWSLogs
)

// layout is what a key tells of a file. CloudTrail writes
//
//	[PREFIX/]AWSLogs/[ORGANISATION/]ACCOUNT/CloudTrail/REGION/2024/05/01/ACCOUNT_CloudTrail_REGION_20240501T1205Z_UNIQUE.json.gz
//
// with CloudTrail-Digest and CloudTrail-Insight in place of CloudTrail for the others.
type layout struct {
	kind                          kind
	prefix, organisation, account string
	region                        string
	time                          time.Time // of delivery, to the minute; zero where the name tells none
}

// The folders and names of the kinds.
var kinds = [...]string{trail: "CloudTrail", insight: "CloudTrail-Insight", digest: "CloudTrail-Digest"}

// parseKey reads a key.
func parseKey(key string) layout {
	var l layout
	name := key[strings.LastIndexByte(key, '/')+1:]
	parts := strings.Split(name, "_")
	if len(parts) >= 4 { // files that were moved elsewhere have their names left
		for _, k := range []kind{trail, insight, digest} {
			if parts[1] == kinds[k] {
				l.kind, l.account, l.region = k, parts[0], parts[2]
			}
		}
		l.time = timeIn(parts[3:])
	}
	at := strings.LastIndex("/"+key, "/AWSLogs/")
	if at < 0 {
		return l
	}
	folders := strings.Split(key[at+len("AWSLogs/"):], "/")
	folders = folders[:len(folders)-1] // the name
	organisation := ""
	if len(folders) > 0 && strings.HasPrefix(folders[0], "o-") {
		organisation, folders = folders[0], folders[1:]
	}
	if len(folders) < 2 || !isAccount(folders[0]) {
		return l
	}
	l.prefix, l.organisation, l.account = key[:at], organisation, folders[0]
	l.kind, l.region = foreign, ""
	for _, k := range []kind{trail, insight, digest} {
		if folders[1] == kinds[k] {
			l.kind = k
		}
	}
	if len(folders) > 2 {
		l.region = folders[2]
	}
	return l
}

// isAccount tells whether a folder is an account's: twelve digits.
func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// timeIn finds the time among the parts of a name: 20240501T1205Z, or with seconds.
func timeIn(parts []string) time.Time {
	for _, p := range parts {
		p, _, _ = strings.Cut(p, ".")
		for _, form := range []string{"20060102T1504Z", "20060102T150405Z"} {
			if len(p) == len(form) {
				if t, err := time.Parse(form, p); err == nil {
					return t
				}
			}
		}
	}
	return time.Time{}
}
