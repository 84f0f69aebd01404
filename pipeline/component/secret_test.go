package component

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestASecretIsNeverShown(t *testing.T) {
	type config struct {
		Password Secret `yaml:"password" json:"password"`
	}
	c := config{"hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "password", c.Password, "config", c)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v %#v %q %x %d %s", c, c, c.Password, c.Password, c.Password, &c),
		c.Password.String(), string(j), string(y), log.String(),
	} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e74657232") || !strings.Contains(shown, masked) {
			t.Errorf("shown as %s", shown)
		}
	}
	if Secret("").String() != "" || c.Password.Reveal() != "hunter2" {
		t.Error("an empty secret is shown as empty, and Reveal gives the text")
	}
	var back config
	if err := yaml.Unmarshal([]byte("password: hunter2"), &back); err != nil || back != c {
		t.Errorf("read as %q, %v", back.Password.Reveal(), err)
	}
}
