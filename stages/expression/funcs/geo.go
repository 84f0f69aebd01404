package funcs

import (
	"fmt"
	"net"
	"net/netip"
)

// GeoReader answers from MaxMind databases. Each method returns nil and no
// error for an address that the database does not hold.
type GeoReader interface {
	City(netip.Addr) (*City, error)
	ASN(netip.Addr) (*ASN, error)
	// Network returns the range that the ASN database has for the address.
	Network(netip.Addr) (*net.IPNet, error)
}

// Place is a country or continent of a City, with the database's field names.
type Place struct {
	GeoNameID         uint              `maxminddb:"geoname_id"`
	Code              string            `maxminddb:"code"`     // of a continent
	IsoCode           string            `maxminddb:"iso_code"` // of a country or subdivision
	Type              string            `maxminddb:"type"`     // of a represented country
	IsInEuropeanUnion bool              `maxminddb:"is_in_european_union"`
	Names             map[string]string `maxminddb:"names"` // by language
}

// City is a record of a City database, under the names that rules use.
type City struct {
	City      Place `maxminddb:"city"`
	Continent Place `maxminddb:"continent"`
	Country   Place `maxminddb:"country"`
	Location  struct {
		AccuracyRadius uint16  `maxminddb:"accuracy_radius"` // km
		Latitude       float64 `maxminddb:"latitude"`        // degrees
		Longitude      float64 `maxminddb:"longitude"`
		MetroCode      uint    `maxminddb:"metro_code"`
		TimeZone       string  `maxminddb:"time_zone"`
	} `maxminddb:"location"`
	Postal struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"postal"`
	RegisteredCountry  Place   `maxminddb:"registered_country"`
	RepresentedCountry Place   `maxminddb:"represented_country"`
	Subdivisions       []Place `maxminddb:"subdivisions"`
	Traits             struct {
		IsAnonymousProxy    bool `maxminddb:"is_anonymous_proxy"`
		IsAnycast           bool `maxminddb:"is_anycast"`
		IsSatelliteProvider bool `maxminddb:"is_satellite_provider"`
	} `maxminddb:"traits"`
}

// ASN is a record of an ASN database.
type ASN struct {
	AutonomousSystemNumber       uint   `maxminddb:"autonomous_system_number"`
	AutonomousSystemOrganization string `maxminddb:"autonomous_system_organization"`
}

func geoTable(geo GeoReader) []Function {
	return []Function{
		geoFunction("GeoIPEnrich", geo, GeoReader.City),
		geoFunction("GeoIPASNEnrich", geo, GeoReader.ASN),
		geoFunction("GeoIPRangeEnrich", geo, GeoReader.Network),
		pure1("IPToCountry", func(ip string) string {
			a, err := parseIP(ip)
			if err != nil || geo == nil {
				return ""
			}
			city, err := geo.City(a)
			if err != nil || city == nil {
				return ""
			}
			return city.Country.IsoCode
		}),
	}
}

// geoFunction gives an untyped nil for an address that is not in the database,
// so that a rule can compare it with nil.
func geoFunction[T any](name string, geo GeoReader, get func(GeoReader, netip.Addr) (*T, error)) Function {
	return Function{Name: name, Types: []any{new(func(string) *T)}, Call: func(args ...any) (any, error) {
		s, err := arg[string](name, args, 0)
		if err != nil || geo == nil {
			return nil, err
		}
		a, err := parseIP(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		v, err := get(geo, a)
		if err != nil {
			return nil, fmt.Errorf("%s: looking up %s: %w", name, a, err)
		}
		if v == nil {
			return nil, nil
		}
		return v, nil
	}}
}
