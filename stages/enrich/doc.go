// Package enrich holds the methods that a parser's statics call by name:
// ParseDate, GeoIpCity, GeoIpASN, IpToRange, reverse_dns and UnmarshalJSON.
// They write to evt.Enriched, from where the rules copy what they want.
//
// New opens the MaxMind files and gives the results their slots. The Set is
// immutable; each goroutine that parses has a Runner with caches of its own:
//
//		set, err := enrich.New(schema, enrich.Options{Data: loaded.Data})
//		method, ok := set.Method("ParseDate")
//		r := set.NewRunner()
//		err = r.Call(method, event, value)
//
//	  - dates: what a date may look like, and the year of one without
//	  - geo.go: cities, networks and ranges from MaxMind files
//	  - names.go: reverse DNS, cached and bounded
package enrich
