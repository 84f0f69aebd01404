package kafka

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/sources"
)

// standing is what the group knows of a partition: the offset that was
// committed and, in the commit's metadata, the tenures up to then.
type standing struct {
	committed int64            // -1 for none
	tenures   []sources.Tenure // newest first; Own is not set
}

// historyMark begins the metadata of our commits, with the format's version.
const historyMark = "sluice1"

// memberName is what a Keeper may be called: it stands between blanks in the
// metadata, which brokers limit to 4 KiB.
var memberName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// tenuresText returns what a commit of a tenure carries: its tenures, such as
// "sluice1 300:b 100:a" when b began at 300 after a had begun at 100.
func tenuresText(tenures []sources.Tenure) string {
	out := []byte(historyMark)
	for _, t := range tenures[:min(len(tenures), sources.HistoryLength)] {
		out = append(out, ' ')
		out = strconv.AppendInt(out, t.Began, 10)
		out = append(out, ':')
		out = append(out, t.Member...)
	}
	return string(out)
}

// parseTenures reads what tenuresText wrote. What other programs wrote is no
// history and no error.
func parseTenures(text string) ([]sources.Tenure, error) {
	mark, rest, _ := strings.Cut(text, " ")
	if mark != historyMark {
		if strings.HasPrefix(mark, "sluice") {
			return nil, fmt.Errorf("its tenures are written as %.20q, which this version does not know", mark)
		}
		return nil, nil
	}
	var out []sources.Tenure
	for field := range strings.SplitSeq(rest, " ") {
		began, member, ok := strings.Cut(field, ":")
		offset, err := strconv.ParseInt(began, 10, 64)
		if !ok || err != nil || offset < -1 || !memberName.MatchString(member) || len(out) == sources.HistoryLength {
			return nil, fmt.Errorf("its tenures are damaged at %.100q", field)
		}
		out = append(out, sources.Tenure{Began: offset, Member: member})
	}
	return out, nil
}

// history returns the tenures as the member of that name sees them.
func (st standing) history(name string) []sources.Tenure {
	out := slices.Clone(st.tenures)
	for i := range out {
		out[i].Own = out[i].Member == name
	}
	return out
}

// untouched tells whether the group has nothing of the partition yet: it still
// stands where its first tenure began.
func (st standing) untouched() bool {
	return len(st.tenures) > 0 && len(st.tenures) < sources.HistoryLength && st.tenures[len(st.tenures)-1].Began == st.committed
}

// begun returns the tenures once a new one of that name has begun at an offset.
// A member's tenures in a row are one: nobody else has read between them.
func (st standing) begun(name string, at int64) []sources.Tenure {
	if len(st.tenures) > 0 && st.tenures[0].Member == name {
		return st.tenures
	}
	out := append([]sources.Tenure{{Began: at, Member: name}}, st.tenures...)
	return out[:min(len(out), sources.HistoryLength)]
}
