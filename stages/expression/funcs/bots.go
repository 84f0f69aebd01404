package funcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// botList is a file of type bots: crawlers that say who they are and can be
// told by their address. An entry fits when its user agent and one of its
// paths do (where it has them) and the address is one of its own: by address,
// by range, or by a name that leads back to the address.
type botList struct{ entries []*bot }

type bot struct {
	Name      string   `json:"name"`
	UserAgent string   `json:"user_agent"`
	Paths     []string `json:"paths"`
	IPs       []string `json:"ips"`
	Ranges    []string `json:"ranges"`
	RDNS      []string `json:"rdns"`

	agent        *regexp.Regexp
	paths, names []*regexp.Regexp
	addrs        map[netip.Addr]bool
	ranges       []netip.Prefix
}

func (l *botList) add(line string) error {
	b := &bot{addrs: make(map[netip.Addr]bool)}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(b); err != nil {
		return fmt.Errorf("not a bot: %w", err)
	}
	if b.Name == "" {
		return errors.New("the bot has no name")
	}
	if len(b.IPs)+len(b.Ranges)+len(b.RDNS) == 0 {
		return fmt.Errorf("the bot %s has neither ips, ranges nor rdns: anyone can claim its user agent", b.Name)
	}
	if err := b.compile(); err != nil {
		return fmt.Errorf("the bot %s: %w", b.Name, err)
	}
	l.entries = append(l.entries, b)
	return nil
}

func (b *bot) compile() (err error) {
	if b.UserAgent != "" {
		if b.agent, err = regexp.Compile("(?i)" + b.UserAgent); err != nil {
			return err
		}
	}
	if b.paths, err = foldedRegexps(b.Paths); err != nil {
		return err
	}
	if b.names, err = foldedRegexps(b.RDNS); err != nil {
		return err
	}
	for _, s := range b.IPs {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		b.addrs[a.Unmap()] = true
	}
	for _, s := range b.Ranges {
		p, err := ParseRange(s)
		if err != nil {
			return err
		}
		b.ranges = append(b.ranges, p)
	}
	return nil
}

func foldedRegexps(list []string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, s := range list {
		if s == "" {
			return nil, errors.New("an empty pattern fits everything")
		}
		re, err := regexp.Compile("(?i)" + s)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

func anyMatch(list []*regexp.Regexp, s string) bool {
	for _, re := range list {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

func botTable(d *Data, resolver Resolver) []Function {
	return []Function{{
		Name: "MatchKnownBot", Outside: true,
		Types: []any{new(func(string, string, string, ...string) bool)},
		Call: func(args ...any) (any, error) {
			text := make([]string, max(3, len(args)))
			for i := range text {
				s, err := arg[string]("MatchKnownBot", args, i)
				if err != nil {
					return nil, err
				}
				text[i] = s
			}
			return d.matchKnownBot(resolver, text[0], text[1], text[2], text[3:]), nil
		},
	}}
}

// matchKnownBot asks the DNS only when no bot has the address in its lists.
func (d *Data) matchKnownBot(resolver Resolver, ip, agent, path string, files []string) bool {
	addr, ok := botAddr(ip)
	if !ok {
		return false
	}
	var byName []*bot
	for _, name := range files {
		list := d.bots[name]
		if list == nil {
			continue
		}
		for _, b := range list.entries {
			if b.agent != nil && !b.agent.MatchString(agent) || len(b.paths) > 0 && !anyMatch(b.paths, path) {
				continue
			}
			if b.owns(addr) {
				return true
			}
			if len(b.names) > 0 {
				byName = append(byName, b)
			}
		}
	}
	if len(byName) == 0 {
		return false
	}
	for _, name := range resolver.Names(addr) {
		for _, b := range byName {
			if anyMatch(b.names, name) {
				return true
			}
		}
	}
	return false
}

func (b *bot) owns(a netip.Addr) bool {
	if b.addrs[a] {
		return true
	}
	for _, p := range b.ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// botAddr reads an address, alone or with a port.
func botAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return a, false
		}
		a = ap.Addr()
	}
	return a.WithZone("").Unmap(), true
}
