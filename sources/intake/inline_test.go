package intake_test

import (
	"testing"

	"sluice/pipeline/component"
	"sluice/sources/intake"
)

func TestAnInlinedConfigurationKeepsItsDefaults(t *testing.T) {
	c := struct {
		Listen        string `yaml:"listen"`
		intake.Config `yaml:",inline"`
	}{Config: intake.Default(intake.Journal)}
	node, err := component.Parse([]byte("listen: here\nack: accepted\njournal: {max_bytes: 2GiB}\n"))
	must(t, err)
	must(t, component.Decode(node, &c))
	if c.Intake != intake.Journal || c.Ack != intake.AckAccepted || c.Journal.MaxBytes != 2<<30 || c.Journal.SegmentBytes != 64<<20 || c.Listen != "here" {
		t.Errorf("decoded %+v", c)
	}
}
