package enrich

import (
	"net/netip"
	"testing"

	"sluice/pipeline"
	"sluice/stages/rules"
)

func TestHelpersReadTheSameDatabasesAsTheMethods(t *testing.T) {
	s, err := New(pipeline.NewSchema(), Options{Data: []rules.DataFile{
		{Data: rules.Data{DestFile: "a.mmdb"}, Path: hubData(t, "GeoLite2-Test-City.mmdb")},
		{Data: rules.Data{DestFile: "b.mmdb"}, Path: hubData(t, "GeoLite2-Test-ASN.mmdb")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := s.GeoReader()
	city, err := r.City(netip.MustParseAddr("2.125.160.216"))
	if err != nil || city == nil || city.Country.IsoCode != "GB" {
		t.Errorf("the city is %+v, %v", city, err)
	}
	asn, err := r.ASN(netip.MustParseAddr("1.128.0.1"))
	if err != nil || asn == nil || asn.AutonomousSystemNumber != 1221 {
		t.Errorf("the ASN is %+v, %v", asn, err)
	}
	network, err := r.Network(netip.MustParseAddr("1.128.0.1"))
	if err != nil || network == nil || network.String() != "1.128.0.0/11" {
		t.Errorf("the network is %v, %v", network, err)
	}
	if city, err := r.City(netip.MustParseAddr("192.0.2.1")); city != nil || err != nil {
		t.Errorf("an address that is not in the file gave %+v, %v", city, err)
	}
	if WithoutFiles(pipeline.NewSchema()).GeoReader() != nil {
		t.Error("there is a reader without databases")
	}
}
