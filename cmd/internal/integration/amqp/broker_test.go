//go:build integration

package amqp_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// The one user of the broker: EXTERNAL knows it by the certificate's common name.
const (
	user     = "client"
	password = "p@ss/word"
)

// rabbit is a real broker in a folder of its own.
type rabbit struct {
	*rig.Part
	plain, tls int // ports
}

// startRabbit runs a broker, and Erlang's port mapper for it alone, on loopback ports.
func startRabbit(t *testing.T, files tlstest.Files) *rabbit {
	t.Helper()
	rig.Need(t, "rabbitmq-server", "rabbitmq-server") // its wrapper changes the user and the folder
	const server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(server); err != nil {
		t.Skipf("skipped 1 part: no RabbitMQ at %s", server)
	}
	epmd := rig.Need(t, "erlang-base", "epmd")
	dir := t.TempDir()
	r := &rabbit{plain: rig.Port(t), tls: rig.Port(t)}
	mapper, distribution := rig.Port(t), rig.Port(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("rabbitmq.conf", strings.Join([]string{
		fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d", r.plain),
		fmt.Sprintf("listeners.ssl.1 = 127.0.0.1:%d", r.tls),
		"ssl_options.cacertfile = " + files.CA, "ssl_options.certfile = " + files.ServerCert, "ssl_options.keyfile = " + files.ServerKey,
		"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true",
		"auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = EXTERNAL", "ssl_cert_login_from = common_name",
		"default_user = " + user, "default_pass = " + password,
	}, "\n")+"\n")
	plugins := write("plugins", "[rabbitmq_auth_mechanism_ssl].\n")
	env := append(os.Environ(),
		"HOME="+dir, "RABBITMQ_CONF_ENV_FILE="+filepath.Join(dir, "none"), "RABBITMQ_CONFIG_FILE="+config, "RABBITMQ_ENABLED_PLUGINS_FILE="+plugins,
		"RABBITMQ_NODENAME=sluice@localhost", "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOGS=-",
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", distribution), fmt.Sprintf("ERL_EPMD_PORT=%d", mapper), "ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_CRASH_DUMP_SECONDS=0", "RUNNING_UNDER_SYSTEMD=1", // the script then becomes the server, so that killing it kills the server
	)
	rig.Run(t, func() *exec.Cmd {
		return exec.Command(epmd, "-port", fmt.Sprint(mapper), "-address", "127.0.0.1")
	}, rig.Listens(fmt.Sprintf("127.0.0.1:%d", mapper)))
	r.Part = rig.Run(t, func() *exec.Cmd {
		cmd := exec.Command(server)
		cmd.Env, cmd.Dir = env, dir
		return cmd
	}, func(context.Context) error {
		conn, err := amqp091.Dial(r.url())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return r
}

// url is the broker's address with the user and the password.
func (r *rabbit) url() string {
	return fmt.Sprintf("amqp://%s:%s@127.0.0.1:%d", user, "p%40ss%2Fword", r.plain)
}

// publisher sends lines and waits for the broker to have them on disk.
type publisher struct {
	conn *amqp091.Connection
	ch   *amqp091.Channel
}

func newPublisher(t *testing.T, r *rabbit) *publisher {
	t.Helper()
	conn, err := amqp091.Dial(r.url())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{conn, ch}
	t.Cleanup(p.close)
	return p
}

func (p *publisher) close() { _ = p.conn.CloseDeadline(time.Now().Add(time.Second)) } // it may be closed, or the broker gone

// declare makes a durable queue.
func (p *publisher) declare(t *testing.T, queue, kind string) {
	t.Helper()
	if _, err := p.ch.QueueDeclare(queue, true, false, false, false, amqp091.Table{amqp091.QueueTypeArg: kind}); err != nil {
		t.Fatal(err)
	}
}

// consumed waits until a queue has a reader, and so a leader.
func (p *publisher) consumed(t *testing.T, queue string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "a reader of "+queue, func() (bool, error) {
		ch, err := p.conn.Channel() // a queue that is not there ends the channel
		if err != nil {
			return false, err
		}
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return false, nil
		}
		return q.Consumers > 0, ch.Close()
	}); err != nil {
		t.Fatal(err)
	}
}

// send publishes the lines from one number up to another, each to the queue that to says.
func (p *publisher) send(ctx context.Context, from, until int, to func(n int) string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var confirmations []*amqp091.DeferredConfirmation
	for n := from; n < until; n++ {
		c, err := p.ch.PublishWithDeferredConfirmWithContext(ctx, "", to(n), false, false, amqp091.Publishing{
			Body: []byte(rig.Line(n)), DeliveryMode: amqp091.Persistent, MessageId: fmt.Sprint("message ", n),
		})
		if err != nil {
			return fmt.Errorf("publishing line %d: %w", n, err)
		}
		if confirmations = append(confirmations, c); len(confirmations) < 100 && n < until-1 {
			continue
		}
		for _, c := range confirmations {
			if ok, err := c.WaitContext(ctx); err != nil || !ok {
				return fmt.Errorf("the broker took a line: %v, error %v", ok, err)
			}
		}
		confirmations = confirmations[:0]
	}
	return nil
}

func (p *publisher) mustSend(t *testing.T, from, until int, to func(n int) string) {
	t.Helper()
	if err := p.send(t.Context(), from, until, to); err != nil {
		t.Fatal(err)
	}
}

// source is the source's configuration.
func source(r *rabbit, name string, queues ...string) map[string]any {
	return map[string]any{
		"type": "amqp", "name": name, "brokers": []string{r.url()}, "queues": queues, "prefetch": 300,
		"backoff_max": "500ms", "heartbeat": "2s",
	}
}
