package funcs

import (
	"fmt"
	"regexp"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of a cache of answers.
const (
	defaultCacheSize = 50      // answers, when the rule does not say
	maxCacheSize     = 1 << 20 // answers that a rule may ask for
	maxCachedText    = 4 << 10 // bytes of a text whose answer is remembered
)

// cache returns nil when the options ask for none.
func (o LoadOptions) cache() (*lru.Cache[string, bool], error) {
	switch o.Strategy {
	case "", "LRU", "LFU", "ARC":
	default:
		return nil, fmt.Errorf("there is no cache strategy %q; it can be LRU, LFU or ARC", o.Strategy)
	}
	if o.Size < 0 || o.Size > maxCacheSize {
		return nil, fmt.Errorf("the cache size %d is not between 0 and %d", o.Size, maxCacheSize)
	}
	if o.Cache != nil && !*o.Cache || o.Strategy == "" && o.Size == 0 && o.TTLNanos == 0 {
		return nil, nil
	}
	size := o.Size
	if size == 0 {
		size = defaultCacheSize
	}
	return lru.New[string, bool](size)
}

// regexpFile is a file of type regexp: a text fits when one of them matches.
type regexpFile struct {
	set   *regexpSet
	cache *lru.Cache[string, bool] // nil without one
}

// newRegexpFile drops the cache of a set in which every regexp has a literal:
// matching is then faster than remembering.
func newRegexpFile(all []*regexp.Regexp, cache *lru.Cache[string, bool]) *regexpFile {
	f := &regexpFile{set: newRegexpSet(all)}
	if len(f.set.always) > 0 {
		f.cache = cache
	}
	return f
}

func (f *regexpFile) match(text string) bool {
	if f.cache == nil || len(text) > maxCachedText {
		return f.set.match(text)
	}
	if answer, ok := f.cache.Get(text); ok {
		return answer
	}
	answer := f.set.match(text)
	f.cache.Add(strings.Clone(text), answer) // text may alias a line
	return answer
}
