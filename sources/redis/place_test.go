package redis

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

// TestTrimmingIsToldByCounting has streams that begin behind the position,
// which is behind entry 50-0. Trimming on a real server is in the tests with the tag integration.
func TestTrimmingIsToldByCounting(t *testing.T) {
	id := func(n int64) int64 { return n << sequenceBits }
	for name, tc := range map[string]struct {
		st     standing
		read   int64 // entries before the position; -1 unknown
		group  *membership
		gap    string // "" for none
		left   int64
		shared bool
	}{
		"nothing came since, and all is trimmed":              {standing{true, 0, 0, id(50), 50}, 50, nil, "", 0, false},
		"the last that was read is there":                     {standing{true, 11, id(50), id(60), 60}, 50, nil, "", 10, false},
		"trimmed up to the position":                          {standing{true, 10, id(51), id(60), 60}, 50, nil, "", 10, false},
		"trimmed up to the position, ids are sparse":          {standing{true, 10, id(90), id(99), 60}, 50, nil, "", 10, false},
		"trimmed beyond it":                                   {standing{true, 9, id(52), id(60), 60}, 50, nil, "were trimmed away", 9, false},
		"all that came since is trimmed":                      {standing{true, 0, 0, id(60), 60}, 50, nil, "were trimmed away", 0, false},
		"nobody counted, and the last that was read is gone":  {standing{true, 10, id(51), id(60), 60}, -1, nil, "with it may have been others", 10, false},
		"nobody counted, and the last that was read is there": {standing{true, 60, id(1), id(60), 60}, -1, nil, "", -1, false},
		"an old server that does not count":                   {standing{true, 10, id(51), id(60), 0}, -1, nil, "with it may have been others", 10, false},
		"a shared group that was given all":                   {standing{true, 5, id(80), id(90), 60}, -1, &membership{read: 55}, "", -1, true},
		"a shared group that was not given all":               {standing{true, 5, id(80), id(90), 60}, -1, &membership{read: 54}, "were trimmed away", -1, true},
		"a stream that went back":                             {standing{true, 9, id(1), id(9), 9}, 50, nil, "before the position", 0, false},
		"a stream that is gone":                               {standing{}, 50, nil, "the stream is gone", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			c := Default()
			if tc.shared {
				c.Group, c.SharedGroup = "g", true
			}
			r := &reader{
				s:      &Source{config: c, log: slog.New(slog.NewTextHandler(io.Writer(&log), nil))},
				stream: newStream("redis", "logs"), known: true, proven: true, next: id(50) + 1, read: tc.read,
			}
			if err := r.check(&tc.st, tc.group); err != nil {
				t.Fatal(err)
			}
			told := log.String()
			if (r.s.gaps.Load() == 1) != (tc.gap != "") || !strings.Contains(told, tc.gap) {
				t.Errorf("it says %q, want %q", told, tc.gap)
			}
			if !tc.shared {
				r.measure(&tc.st)
				if r.left != tc.left {
					t.Errorf("%d entries are left, want %d", r.left, tc.left)
				}
			}
			log.Reset()
			if err := r.check(&tc.st, tc.group); err != nil || log.Len() > 0 {
				t.Errorf("a second look says %q, %v", log.String(), err)
			}
			if tc.gap == "" {
				return
			}
			held := &reader{s: r.s, stream: newStream("redis", "logs"), known: true, held: true, next: id(50) + 1, read: tc.read}
			if err := held.check(&tc.st, tc.group); err == nil || !strings.Contains(err.Error(), "sluice state reset") {
				t.Errorf("where state stands: %v", err)
			}
		})
	}
}
