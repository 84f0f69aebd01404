package dates

import "time"

// MaxAhead is how far a date without a year may lie beyond the reference:
// room for clocks that run ahead and for local times read as UTC. A date
// further ahead than this belongs to the year before.
const MaxAhead = 24 * time.Hour

// span is the range of references, from (included) to until (excluded), for
// which a date without a year keeps its year. The zero span is all of time.
type span struct{ from, until time.Time }

func (s span) holds(reference time.Time) bool {
	return s.from.IsZero() || !reference.Before(s.from) && reference.Before(s.until)
}

// giveYear puts a date of the year 0 into the latest year in which it is not
// more than MaxAhead beyond the reference. So a line of 31 December that
// arrives on 1 January is of the old year, and one of 1 January that arrives
// a little early is of the new one. 29 February goes to the latest leap year.
func giveYear(t, reference time.Time) (time.Time, span) {
	year := reference.In(t.Location()).Year() + 1
	limit := reference.Add(MaxAhead)
	for !exists(t, year) || inYear(t, year).After(limit) {
		year--
	}
	next := year + 1
	for !exists(t, next) {
		next++
	}
	return inYear(t, year), span{inYear(t, year).Add(-MaxAhead), inYear(t, next).Add(-MaxAhead)}
}

func inYear(t time.Time, year int) time.Time {
	return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
}

func exists(t time.Time, year int) bool {
	return t.Month() != time.February || t.Day() != 29 || isLeap(year)
}

func isLeap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }
