package funcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"
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

// matchKnownBot is MatchKnownBot(ip, user agent, path, files...).
func (d *Data) matchKnownBot(args ...any) (any, error) {
	var text [3]string
	for i := range text {
		s, err := arg[string]("MatchKnownBot", args, i)
		if err != nil {
			return nil, err
		}
		text[i] = s
	}
	addr, ok := botAddr(text[0])
	if !ok {
		return false, nil
	}
	var byName []*bot
	for _, a := range args[3:] {
		name, _ := a.(string)
		list := d.bots[name]
		if list == nil {
			continue
		}
		for _, b := range list.entries {
			if b.agent != nil && !b.agent.MatchString(text[1]) || len(b.paths) > 0 && !anyMatch(b.paths, text[2]) {
				continue
			}
			if b.owns(addr) {
				return true, nil
			}
			if len(b.names) > 0 {
				byName = append(byName, b)
			}
		}
	}
	if len(byName) == 0 {
		return false, nil
	}
	for _, name := range confirmedNames(addr) {
		for _, b := range byName {
			if anyMatch(b.names, name) {
				return true, nil
			}
		}
	}
	return false, nil
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

// confirmedNames are the names of an address that lead back to it, in lower
// case without the final dot.
func confirmedNames(a netip.Addr) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, a.String())
	if err != nil {
		return nil
	}
	var out []string
	for _, n := range names {
		back, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n)
		if err != nil {
			continue
		}
		for _, b := range back {
			if b.Unmap() == a {
				out = append(out, strings.ToLower(strings.TrimSuffix(n, ".")))
				break
			}
		}
	}
	return out
}
