package grok

import (
	"strconv"
	"strings"
)

// Parts that several base definitions are made of.
const (
	hexGroup   = `[0-9A-Fa-f]{1,4}`
	octet      = `(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
	looseOctet = `(?:25[0-5]|2[0-4]\d|[01]?\d\d?)`
	hexPair    = `[0-9A-Fa-f]{2}`
	hexQuad    = `[0-9A-Fa-f]{4}`
	hexFloat   = `(?:[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]*)?|\.[0-9A-Fa-f]+)`
	hostLabel  = `[0-9A-Za-z][-0-9A-Za-z]{0,62}`
)

// ipv6 writes the IPv6 pattern from its structure: a number of leading
// groups, then what may stand for the others, either groups alone, groups and
// an IPv4 tail, or nothing. More leading groups are tried first, so that the
// longest reading of an address wins.
func ipv6() string {
	dotted := octet + `(?:\.` + octet + `){3}`
	var b strings.Builder
	b.WriteString("(?:")
	for lead := 7; lead >= 0; lead-- {
		switch lead {
		case 0:
			b.WriteString("|:")
		case 7:
			b.WriteString(`(?:` + hexGroup + `:){7}(?:` + hexGroup + `|:)`)
			continue
		default:
			b.WriteString(`|(?:` + hexGroup + `:){` + strconv.Itoa(lead) + `}`)
		}
		b.WriteString(`(?:(?::` + hexGroup + `){1,` + strconv.Itoa(7-lead) + `}|`)
		if lead < 6 {
			if most := 5 - lead; most > 0 {
				b.WriteString(`(?::` + hexGroup + `){0,` + strconv.Itoa(most) + `}:`)
			} else {
				b.WriteString(`:`)
			}
		}
		b.WriteString(dotted + `|:)`)
	}
	// A zone reaches as far as the rest of the expression allows.
	b.WriteString(`)(?:%.+)?`)
	return b.String()
}

// basePatterns is the base library: the names that rule files expect to find.
// A definition is held to the reference library's captures by
// TestBaseLibraryCapturesWhatTheHubsBaseDoes; where a name's language looks odd
// (the alternatives of MONTH, the wildcard in SYSLOGFACILITY) it is because
// rules have come to depend on it.
func basePatterns() [][2]string {
	return [][2]string{
		// Words, numbers and the like.
		{"WORD", `\b[0-9A-Za-z_]+\b`},
		{"NOTSPACE", `\S+`},
		{"SPACE", `\s*`},
		{"DATA", `.*?`},
		{"GREEDYDATA", `.*`},
		{"INT", `[-+]?\d+`},
		{"BASE10NUM", `[-+]?(?:\d+(?:\.\d+)?|\.\d+)`},
		{"NUMBER", `%{BASE10NUM}`},
		{"BASE16NUM", `[-+]?(?:0x)?[0-9A-Fa-f]+`},
		{"BASE16FLOAT", `\b[-+]?(?:0x)?` + hexFloat + `\b`},
		{"POSINT", `\b[1-9]\d*\b`},
		{"NONNEGINT", `\b\d+\b`},
		{"UUID", hexQuad + hexQuad + `(?:-` + hexQuad + `){3}-` + hexQuad + hexQuad + hexQuad},
		{"QUOTEDSTRING", quoted(`"`) + `|` + quoted(`'`) + `|` + quoted("`")},
		{"QS", `%{QUOTEDSTRING}`},
		{"LOGLEVEL", logLevels()},

		// People.
		{"USERNAME", `[-._0-9A-Za-z]+`},
		{"USER", `%{USERNAME}`},
		// From '+' to '=' is a range: digits, ',', '-', '.', '/', ':', ';', '<'.
		{"EMAILLOCALPART", `[0-9A-Za-z_.+-=:]+`},
		{"EMAILADDRESS", `%{EMAILLOCALPART}@%{HOSTNAME}`},
		{"HTTPDUSER", `%{EMAILADDRESS}|%{USER}`},

		// Networks.
		{"CISCOMAC", hexQuad + `(?:\.` + hexQuad + `){2}`},
		{"WINDOWSMAC", hexPair + `(?:-` + hexPair + `){5}`},
		{"COMMONMAC", hexPair + `(?::` + hexPair + `){5}`},
		{"MAC", `%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC}`},
		{"IPV6", ipv6()},
		{"IPV4", looseOctet + `(?:\.` + looseOctet + `){3}`},
		{"IP", `%{IPV6}|%{IPV4}`},
		{"HOSTNAME", `\b` + hostLabel + `(?:\.` + hostLabel + `)*(?:\.?|\b)`},
		{"IPORHOST", `%{IP}|%{HOSTNAME}`},
		{"HOSTPORT", `%{IPORHOST}:%{POSINT}`},

		// Paths and addresses of resources.
		{"UNIXPATH", `(?:/(?:[-\w_%!$@:.,~]+|\\.)*)+`},
		{"WINPATH", `(?:[A-Za-z]+:|\\)(?:\\[^?*\\]*)+`},
		{"PATH", `%{UNIXPATH}|%{WINPATH}`},
		{"TTY", `/dev/(?:pts|tty[pq]?)\w*/?\d+`},
		{"URIPROTO", `[A-Za-z]+(?:\+[+A-Za-z]+)?`},
		{"URIHOST", `%{IPORHOST}(?::%{POSINT:port})?`},
		{"URIPATH", `(?:/[-0-9A-Za-z$.+!*'(){},~:;=@#%_]*)+`},
		{"URIPARAM", `\?[-0-9A-Za-z$.+!*'|(){},~@#%&/=:;_?\[\]<>]*`},
		{"URIPATHPARAM", `%{URIPATH}(?:%{URIPARAM})?`},
		{"URI", `%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?`},

		// Parts of dates. Single digits are the last choice of MONTHDAY and the first of MONTHNUM.
		{"YEAR", `\d\d(?:\d\d)?`},
		{"MONTH", months()},
		{"MONTHNUM", `0?[1-9]|1[012]`},
		{"MONTHNUM2", `0[1-9]|1[012]`},
		{"MONTHDAY", `0[1-9]|[12]\d|3[01]|[1-9]`},
		{"DAY", `Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?`},
		{"HOUR", `2[0-3]|[01]?\d`},
		{"MINUTE", `[0-5]\d`},
		{"SECOND", `(?:[0-5]?\d|60)(?:[,.:]\d+)?`},
		{"TIME", `%{HOUR}:%{MINUTE}:%{SECOND}`},
		{"TZ", `[A-Z]{3}`},
		{"NUMTZ", `[-+]\d\d\d\d`},
		{"ISO8601_TIMEZONE", `Z|[-+]%{HOUR}:?%{MINUTE}`},
		{"ISO8601_SECOND", `%{SECOND}|60`},

		// Dates.
		{"DATE_US", `%{MONTHNUM}[-/]%{MONTHDAY}[-/]%{YEAR}`},
		{"DATE_EU", `%{MONTHDAY}[-./]%{MONTHNUM}[-./]%{YEAR}`},
		{"DATE_X", `%{YEAR}/%{MONTHNUM2}/%{MONTHDAY}`},
		{"DATE", `%{DATE_US}|%{DATE_EU}|%{DATE_X}`},
		{"DATESTAMP", `%{DATE}[ -]%{TIME}`},
		{"TIMESTAMP_ISO8601", `%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[ T]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?%{ISO8601_TIMEZONE}?`},
		{"DATESTAMP_RFC822", `%{DAY} %{MONTH} %{MONTHDAY} %{YEAR} %{TIME} %{TZ}`},
		{"DATESTAMP_RFC2822", `%{DAY}, %{MONTHDAY} %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}`},
		{"DATESTAMP_OTHER", `%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{TZ} %{YEAR}`},
		{"DATESTAMP_EVENTLOG", `%{YEAR}%{MONTHNUM2}%{MONTHDAY}%{HOUR}%{MINUTE}%{SECOND}`},
		{"HTTPDERROR_DATE", `%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{YEAR}`},
		{"HTTPDATE", `%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}`},
		{"SYSLOGTIMESTAMP", `%{MONTH} +%{MONTHDAY} %{TIME}`},
		{"ANSIC", `%{DAY} %{MONTH} [123_]\d %{TIME} %{YEAR}"`},
		{"UNIXDATE", `%{DAY} %{MONTH} [123_]\d %{TIME} %{TZ} %{YEAR}`},
		{"RUBYDATE", `%{DAY} %{MONTH} [0-3]\d %{TIME} %{NUMTZ} %{YEAR}`},
		{"RFC822Z", `[0-3]\d %{MONTH} %{YEAR} %{TIME} %{NUMTZ}`},
		{"RFC850", `%{DAY}, [0-3]\d-%{MONTH}-%{YEAR} %{TIME} %{TZ}`},
		{"RFC1123", `%{DAY}, [0-3]\d %{MONTH} %{YEAR} %{TIME} %{TZ}`},
		{"RFC1123Z", `%{DAY}, [0-3]\d %{MONTH} %{YEAR} %{TIME} %{NUMTZ}`},
		{"RFC3339", `%{YEAR}-[01]\d-[0-3]\dT%{TIME}%{ISO8601_TIMEZONE}`},
		{"RFC3339NANO", `%{YEAR}-[01]\d-[0-3]\dT%{TIME}\.\d{9}%{ISO8601_TIMEZONE}`},
		{"KITCHEN", `\d\d?:\d\d(?:AM|PM|am|pm)`},

		// Syslog.
		{"PROG", `[!-Z\\^-~]+`},
		{"SYSLOGPROG", `%{PROG:program}(?:\[%{POSINT:pid}\])?`},
		{"SYSLOGHOST", `%{IPORHOST}`},
		{"SYSLOGFACILITY", `<%{NONNEGINT:facility}.%{NONNEGINT:priority}>`},
		{"SYSLOGBASE", `%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:logsource} %{SYSLOGPROG}:`},

		// Web servers.
		{"COMMONAPACHELOG", `%{IPORHOST:clientip} %{HTTPDUSER:ident} %{USER:auth} \[%{HTTPDATE:timestamp}\] ` +
			`"(?:%{WORD:verb} %{NOTSPACE:request}(?: HTTP/%{NUMBER:httpversion})?|%{DATA:rawrequest})" ` +
			`%{NUMBER:response} (?:%{NUMBER:bytes}|-)`},
		{"COMBINEDAPACHELOG", `%{COMMONAPACHELOG} %{QS:referrer} %{QS:agent}`},
		{"HTTPD20_ERRORLOG", `\[%{HTTPDERROR_DATE:timestamp}\] \[%{LOGLEVEL:loglevel}\] ` +
			`(?:\[client %{IPORHOST:clientip}\] )?%{GREEDYDATA:errormsg}`},
		{"HTTPD24_ERRORLOG", `\[%{HTTPDERROR_DATE:timestamp}\] \[%{WORD:module}:%{LOGLEVEL:loglevel}\] ` +
			`\[pid %{POSINT:pid}(?::tid %{NUMBER:tid})?\]` +
			`(?: \(%{POSINT:proxy_errorcode}\)%{DATA:proxy_errormessage}:)?` +
			`(?: \[client %{IPORHOST:client}:%{INT:clientport}\])? %{DATA:errorcode}: %{GREEDYDATA:message}`},
		{"HTTPD_ERRORLOG", `%{HTTPD20_ERRORLOG}|%{HTTPD24_ERRORLOG}`},
	}
}

// quoted writes the pattern of a string in the given quotes, in which a
// backslash escapes the next character.
func quoted(q string) string {
	return q + `(?:\\.|[^\\` + q + `]+)+` + q + `|` + q + q
}

// months writes MONTH: English names, German ones beside them. Only the first
// begins, and only the last ends, at a word's border.
func months() string {
	return `\b` + strings.Join([]string{
		`Jan(?:uary|uar)?`, `Feb(?:ruary|ruar)?`, `M[aä]?r(?:ch|z)?`, `Apr(?:il)?`, `Ma[yi]?`, `Jun[ei]?`, `July?`,
		`Aug(?:ust)?`, `Sep(?:tember)?`, `O[ck]?t(?:ober)?`, `Nov(?:ember)?`, `De[cz](?:ember)?`,
	}, "|") + `\b`
}

// logLevels writes LOGLEVEL: each level in lower case, capitalised, or in capitals.
func logLevels() string {
	plain := func(word string) string {
		return "[" + strings.ToUpper(word[:1]) + word[:1] + "]" + word[1:] + "|" + strings.ToUpper(word)
	}
	var all []string
	for _, word := range []string{"alert", "trace", "debug", "notice", "info"} {
		all = append(all, plain(word))
	}
	// Names that are also seen cut short.
	all = append(all,
		`[Ww]arn?(?:ing)?`, `WARN?(?:ING)?`, `[Ee]rr?(?:or)?`, `ERR?(?:OR)?`, `[Cc]rit?(?:ical)?`, `CRIT?(?:ICAL)?`,
		plain("fatal"), plain("severe"), `EMERG(?:ENCY)?`, `[Ee]merg(?:ency)?`)
	return strings.Join(all, "|")
}
