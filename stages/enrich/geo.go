package enrich

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// database is an open MaxMind file. It is held in memory rather than mapped,
// so that a file that is cut or replaced while we run cannot kill the process.
type database struct {
	path   string
	reader *maxminddb.Reader
}

// open takes a data file in when it is a MaxMind database.
func (s *Set) open(f rules.DataFile) error {
	if f.Type != "" || f.Path == "" || !strings.HasSuffix(strings.ToLower(f.DestFile), ".mmdb") {
		return nil
	}
	db, err := openDatabase(f.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Pos, err)
	}
	kind := db.reader.Metadata.DatabaseType
	switch {
	case strings.Contains(kind, "ASN"), strings.Contains(kind, "ISP"):
		s.asn = db
	case strings.Contains(kind, "City"), strings.Contains(kind, "Country"), strings.Contains(kind, "Enterprise"):
		s.city = db
	default:
		return fmt.Errorf("%s: %s is a MaxMind database of type %q; want one of cities or of autonomous systems (ASN)", f.Pos, f.Path, kind)
	}
	return nil
}

// openDatabase reads a file and looks one address up, so that a file cut
// short is found at the start.
func openDatabase(path string) (*database, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the MaxMind database: %w", err)
	}
	db := &database{path: path}
	if db.reader, err = openReader(data); err != nil {
		return nil, fmt.Errorf("%s is not a usable MaxMind database: %w; fetch the file again", path, err)
	}
	return db, nil
}

func openReader(data []byte) (reader *maxminddb.Reader, err error) {
	defer recovered(&err)
	if reader, err = maxminddb.OpenBytes(data); err != nil {
		return nil, err
	}
	return reader, reader.Lookup(netip.AddrFrom4([4]byte{1, 1, 1, 1})).Err()
}

// recovered makes an error of a panic over bytes that are not what they should be.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the file is damaged: %v", r)
	}
}

// decode looks an address up. found is false for one that the file does not know.
func (d *database) decode(addr netip.Addr, into any) (prefix netip.Prefix, found bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("looking up %s in %s: %w", addr, d.path, err)
		}
	}()
	defer recovered(&err)
	result := d.reader.Lookup(addr)
	if err := result.Err(); err != nil {
		return netip.Prefix{}, false, err
	}
	if into != nil {
		err = result.Decode(into)
	}
	return result.Prefix(), result.Found(), err
}

// cityRecord is what we read of a city.
type cityRecord struct {
	Country            country `maxminddb:"country"`
	RegisteredCountry  country `maxminddb:"registered_country"`
	RepresentedCountry country `maxminddb:"represented_country"`
	Location           struct {
		Latitude  float64 `maxminddb:"latitude"`
		Longitude float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

type country struct {
	IsoCode string `maxminddb:"iso_code"`
	InEU    bool   `maxminddb:"is_in_european_union"`
}

type asnRecord struct {
	Number       uint64 `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// place holds all that is known of one address, filled as methods ask.
type place struct {
	addr  netip.Addr
	valid bool

	hasCity, hasASN, hasRange          bool
	isoCode, inEU, latitude, longitude string
	asNumber, asOrganization, prefix   string
	cityErr, asnErr, rangeErr          error
}

// geoCache remembers the last addresses, in two generations: when the young
// one is full, it becomes the old one, whose places are forgotten unless asked for again.
type geoCache struct {
	limit      int
	young, old map[string]*place
}

func (c *geoCache) get(value string) *place {
	if p := c.young[value]; p != nil {
		return p
	}
	p := c.old[value]
	if p == nil {
		p = &place{}
		if a, err := netip.ParseAddr(value); err == nil && a.Zone() == "" {
			p.addr, p.valid = a.Unmap(), true
		}
	}
	if len(value) > 64 { // no address: not worth remembering
		return p
	}
	if c.young == nil || len(c.young) >= max(1, c.limit/2) {
		c.old, c.young = c.young, make(map[string]*place)
	}
	c.young[strings.Clone(value)] = p
	return p
}

// city writes country and coordinates. Of an address that the file does not
// know, it writes an empty country and coordinates of zero, as CrowdSec does.
func (r *Runner) city(ev *pipeline.Event, value string) error {
	if r.set.city == nil || value == "" {
		return nil
	}
	p := r.geo.get(value)
	if !p.valid {
		return nil
	}
	if !p.hasCity {
		p.hasCity = true
		p.cityErr = p.loadCity(r.set.city)
	}
	if p.cityErr != nil {
		return p.cityErr
	}
	f := &r.set.fields
	ev.Set(f.isoCode, p.isoCode)
	ev.Set(f.isInEU, p.inEU)
	ev.Set(f.latitude, p.latitude)
	ev.Set(f.longitude, p.longitude)
	return nil
}

func (p *place) loadCity(db *database) error {
	var rec cityRecord
	if _, _, err := db.decode(p.addr, &rec); err != nil {
		return err
	}
	c := rec.Country
	if c.IsoCode == "" {
		c = rec.RegisteredCountry
	}
	if c.IsoCode == "" {
		c = rec.RepresentedCountry
	}
	p.isoCode = c.IsoCode
	p.inEU = strconv.FormatBool(c.InEU && c.IsoCode != "")
	p.latitude = strconv.FormatFloat(rec.Location.Latitude, 'f', 6, 64) // FIDELITY 12
	p.longitude = strconv.FormatFloat(rec.Location.Longitude, 'f', 6, 64)
	return nil
}

// network writes the autonomous system, "0" for an unknown one (FIDELITY 12).
func (r *Runner) network(ev *pipeline.Event, value string) error {
	if r.set.asn == nil || value == "" {
		return nil
	}
	p := r.geo.get(value)
	if !p.valid {
		return nil
	}
	if !p.hasASN {
		p.hasASN = true
		var rec asnRecord
		_, _, p.asnErr = r.set.asn.decode(p.addr, &rec)
		p.asNumber, p.asOrganization = strconv.FormatUint(rec.Number, 10), rec.Organization
	}
	if p.asnErr != nil {
		return p.asnErr
	}
	f := &r.set.fields
	ev.Set(f.asnNumber, p.asNumber)
	ev.Set(f.asNumber, p.asNumber)
	ev.Set(f.asnOrg, p.asOrganization)
	return nil
}

// sourceRange writes the network of the ASN file that holds the address.
func (r *Runner) sourceRange(ev *pipeline.Event, value string) error {
	if r.set.asn == nil || value == "" {
		return nil
	}
	p := r.geo.get(value)
	if !p.valid {
		return nil
	}
	if !p.hasRange {
		p.hasRange = true
		network, found, err := r.set.asn.decode(p.addr, nil)
		if p.rangeErr = err; err == nil && found {
			p.prefix = network.Masked().String()
		}
	}
	if p.rangeErr != nil {
		return p.rangeErr
	}
	if p.prefix != "" {
		ev.Set(r.set.fields.sourceRange, p.prefix)
	}
	return nil
}
