package format

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline"
)

// vendor and product are how alerts say where they come from.
const (
	vendor  = "Sluice"
	product = "Sluice"
)

// millis returns an alert's time in milliseconds since 1970, 0 when it has none.
func millis(at string) int64 {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return 0
	}
	return t.UnixMilli()
}

// label returns one of the scenario's labels as text.
func label(a *pipeline.Alert, name string) string {
	v, ok := a.Sluice.Labels[name]
	if !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// confidence returns the scenario's own estimate, from 0 (none) to 3 (sure);
// false where it has none.
func confidence(a *pipeline.Alert) (int, bool) {
	n, err := strconv.Atoi(label(a, "confidence"))
	return n, err == nil && n >= 0 && n <= 3
}

// techniques returns the MITRE ATT&CK techniques of the scenario's
// classification, such as T1110, sorted.
func techniques(a *pipeline.Alert) []string {
	list, _ := a.Sluice.Labels["classification"].([]any)
	var out []string
	for _, item := range list {
		if id, ok := strings.CutPrefix(fmt.Sprint(item), "attack."); ok {
			out = append(out, strings.ToUpper(id))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// address returns the source's address, where it is one.
func address(s *pipeline.Source) (netip.Addr, bool) {
	if s == nil {
		return netip.Addr{}, false
	}
	for _, text := range []string{s.IP, s.Value} {
		if a, err := netip.ParseAddr(text); err == nil {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// asNumber returns the number of the source's autonomous system, 0 when unknown.
func asNumber(s *pipeline.Source) int64 {
	if s == nil {
		return 0
	}
	n, err := strconv.ParseInt(s.AsNumber, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// remedies describes the decisions in words, such as "ban 192.0.2.1 for 4h".
func remedies(a *pipeline.Alert) string {
	var out []string
	for i := range a.Decisions {
		d := &a.Decisions[i]
		text := fmt.Sprintf("%s %s for %s", d.Type, d.Value, d.Duration)
		if d.Simulated {
			text += " (simulated)"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
