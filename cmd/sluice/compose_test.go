package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"sluice/cmd/internal/app"
)

// composed loads docker-compose.yml as Docker does.
func composed(t *testing.T) *types.Project {
	t.Helper()
	root, err := filepath.Abs(filepath.FromSlash("../.."))
	if err != nil {
		t.Fatal(err)
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: root, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}}, Environment: types.Mapping{},
	}, func(o *loader.Options) { o.SetProjectName("sluice", true) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// inImage returns the file of the repository that the Dockerfile puts at a path of the image.
func inImage(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, "/etc/sluice/")
	return filepath.Join("..", "..", "configs", filepath.FromSlash(name)), ok
}

// TestComposeIsSound checks the deployment as far as it can be checked where
// no container runs: the file is one that Docker takes, images are pinned,
// what is mounted and run is there, and what the configuration asks for is given.
func TestComposeIsSound(t *testing.T) {
	p := composed(t)
	pinned := regexp.MustCompile(`:v?[0-9]+(\.[0-9]+)+$`)
	for name, s := range p.Services {
		switch {
		case s.Build == nil && !pinned.MatchString(s.Image):
			t.Errorf("%s: the image %s is not pinned", name, s.Image)
		case s.Build != nil:
			if _, err := os.Stat(filepath.Join(s.Build.Context, "Dockerfile")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.HealthCheck == nil && name != "logs" && !oneShot(p, name) { // nobody waits for the logs
			t.Errorf("%s has no health check", name)
		}
		for dep, how := range s.DependsOn {
			on, ok := p.Services[dep]
			switch {
			case !ok:
				t.Errorf("%s waits for %s, which is no service", name, dep)
			case how.Condition == types.ServiceConditionHealthy && on.HealthCheck == nil:
				t.Errorf("%s waits for %s to be healthy, and nothing tells when it is", name, dep)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to everyone", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := p.Volumes[v.Source]; !ok {
				t.Errorf("%s: the volume %s is not declared", name, v.Source)
			}
		}
	}
}

// oneShot tells whether others wait for the end of a service.
func oneShot(p *types.Project, name string) bool {
	for _, s := range p.Services {
		if s.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// TestKafkaOfComposeKeepsItsLog: sluice's state goes on where the log was, so
// one must not be lost without the other; and topics are there before they are used.
func TestKafkaOfComposeKeepsItsLog(t *testing.T) {
	p := composed(t)
	kafka := p.Services["kafka"]
	dir := kafka.Environment["KAFKA_LOG_DIRS"]
	if dir == nil || !slices.ContainsFunc(kafka.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == *dir }) {
		t.Errorf("the log of Kafka is in no volume")
	}
	script := strings.Join(p.Services["topics"].Command, " ")
	c, err := os.ReadFile(filepath.FromSlash("../../configs/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	topics := regexp.MustCompile(`logs\.\w+|sluice-\w+`).FindAllString(string(c), -1)
	if len(topics) < 4 {
		t.Fatalf("the configuration names the topics %v", topics)
	}
	for _, topic := range topics {
		if !strings.Contains(script, "create "+topic) {
			t.Errorf("nothing creates the topic %s", topic)
		}
	}
	if !strings.Contains(script, "create sluice-decisions --config cleanup.policy=compact") || !strings.Contains(script, `"$@"`) {
		t.Errorf("the topic of decisions is not compacted: %s", script)
	}
	for _, name := range []string{"logs", "sluice"} {
		if p.Services[name].DependsOn["topics"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for the topics", name)
		}
	}
}

// TestTheComposedCommandsExist runs the services' commands as far as their
// flags, and loads the configuration with the services' variables.
func TestTheComposedCommandsExist(t *testing.T) {
	p := composed(t)
	sluice := p.Services["sluice"]
	cmd, rest, err := newRoot().Find(sluice.Command)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil || cmd.Name() != "run" {
		t.Fatalf("%v: %v", sluice.Command, err)
	}
	path, ok := inImage(cmd.Flag("config").Value.String())
	if !ok {
		t.Fatalf("%v runs a configuration that is not in the image", sluice.Command)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
		if value := sluice.Environment[m[1]]; value != nil {
			t.Setenv(m[1], *value)
		} else if m[1] != "SLUICE_STATE" { // the volume is where the default is
			t.Errorf("%s asks for %s, which docker-compose.yml does not set", path, m[1])
		}
	}
	for name := range sluice.Environment {
		if !strings.Contains(string(text), "${"+name) {
			t.Errorf("docker-compose.yml sets %s, which %s does not ask for", name, path)
		}
	}
	t.Setenv("SLUICE_STATE", t.TempDir())
	if _, err := app.Load(path); err != nil {
		t.Error(err)
	}
	for _, port := range sluice.Ports {
		if !strings.Contains(string(text), fmt.Sprintf(":%d\"", port.Target)) {
			t.Errorf("port %d is published, and %s does not listen there", port.Target, path)
		}
	}
	check := sluice.HealthCheck.Test
	if cmd, rest, err := newRoot().Find(check[2:]); err != nil || cmd.ParseFlags(rest) != nil || cmd.Name() != "health" || check[1] != "/usr/bin/sluice" {
		t.Errorf("the health check %v is none", check)
	}
	demo, err := os.ReadFile(filepath.FromSlash("../demo/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range p.Services["logs"].Command {
		if name, ok := strings.CutPrefix(arg, "-"); ok && !strings.Contains(string(demo), fmt.Sprintf("(%q,", name)) {
			t.Errorf("the demo has no flag %s", arg)
		}
	}
	volume := slices.ContainsFunc(sluice.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == "/var/lib/sluice" })
	if !volume {
		t.Error("the state of sluice is in no volume")
	}
}

// TestTheDockerfileCopiesWhatIsThere reads the lines that copy, and the programs that are built.
func TestTheDockerfileCopiesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash("../../Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		for _, from := range strings.Fields(m[1]) {
			if _, err := os.Stat(filepath.Join("..", "..", from)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, m := range regexp.MustCompile(` (\./cmd/\w+)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join("..", "..", m[1], "main.go")); err != nil {
			t.Error(err)
		}
	}
	mod, err := os.ReadFile(filepath.FromSlash("../../go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	if !strings.Contains(string(text), "golang:"+version[1]+"-") {
		t.Errorf("the Dockerfile does not build with Go %s, which go.mod asks for", version[1])
	}
}
