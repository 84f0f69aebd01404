package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// session is a connection to a server that has let us in.
type session struct {
	conn   net.Conn
	client *smtp.Client
}

// refusedError is an answer of 5xx, which will not change by itself.
type refusedError struct{ error }

// open connects and signs in. Whatever goes wrong may go right later.
func (s *Sink) open(ctx context.Context) (*session, error) {
	limited, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	host, address := s.config.address()
	var dialer net.Dialer
	conn, err := dialer.DialContext(limited, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(s.config.Timeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	out := &session{conn: conn}
	defer context.AfterFunc(ctx, out.interrupt)()
	if err := s.enter(out, host); err != nil {
		_ = conn.Close() // the library may have closed it already
		return nil, err
	}
	return out, nil
}

// interrupt ends what is under way.
func (s *session) interrupt() { _ = s.conn.SetDeadline(time.Unix(1, 0)) }

func (s *Sink) enter(out *session, host string) error {
	config := s.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	conn := out.conn
	if s.config.Encryption == onlyTLS {
		conn = tls.Client(conn, config)
	}
	var err error
	if out.client, err = smtp.NewClient(conn, host); err != nil {
		return fmt.Errorf("its greeting: %w", err)
	}
	if err := out.client.Hello(s.helo()); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if s.config.Encryption == startTLS {
		if ok, _ := out.client.Extension("STARTTLS"); !ok {
			return errors.New("it does not offer STARTTLS; set encryption to tls, or to none where the network is trusted")
		}
		if err := out.client.StartTLS(config); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if s.config.Username == "" {
		return nil
	}
	auth, err := s.auth(out.client, host)
	if err != nil {
		return err
	}
	if err := out.client.Auth(auth); err != nil {
		return fmt.Errorf("signing in as %s: %w", s.config.Username, err)
	}
	return nil
}

func (s *Sink) helo() string {
	if s.config.Helo != "" {
		return s.config.Helo
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// auth picks the best mechanism that the server offers.
func (s *Sink) auth(client *smtp.Client, host string) (smtp.Auth, error) {
	_, offered := client.Extension("AUTH")
	user, password := s.config.Username, s.config.Password.Reveal()
	for _, mechanism := range strings.Fields(offered) {
		if strings.EqualFold(mechanism, "SCRAM-SHA-256") {
			return smtp.ScramSHA256Auth(user, password), nil
		}
	}
	for _, mechanism := range strings.Fields(offered) {
		switch strings.ToUpper(mechanism) {
		case "PLAIN":
			return smtp.PlainAuth("", user, password, host, false), nil
		case "LOGIN":
			return smtp.LoginAuth(user, password, host, false), nil
		}
	}
	return nil, fmt.Errorf("it offers none of SCRAM-SHA-256, PLAIN and LOGIN to sign in, but %q", offered)
}

// mail hands a message over. Recipients that are refused for good are returned
// when another is taken. A refusedError is of what is in the message alone: a
// sender, or recipients, whom the server does not take are those of every message, and a person mends that.
func (s *session) mail(ctx context.Context, from string, to []string, text []byte, timeout time.Duration) (refused []string, err error) {
	if err := s.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, s.interrupt)()
	if err := s.client.Mail("<" + from + ">"); err != nil {
		return nil, fmt.Errorf("the sender: %w", err)
	}
	for _, address := range to {
		err := judge(address, s.client.Rcpt("<"+address+">"))
		var final refusedError
		if errors.As(err, &final) {
			refused = append(refused, err.Error())
		} else if err != nil {
			return nil, err
		}
	}
	if len(refused) == len(to) {
		return nil, errors.New("nobody is taken: " + strings.Join(refused, ", "))
	}
	w, err := s.client.Data()
	if err != nil {
		return nil, fmt.Errorf("DATA: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	return refused, judge("the message", w.Close())
}

// reset ends a transaction that was given up; false when the connection is of no use any more.
func (s *session) reset() bool { return s.client.Reset() == nil }

// close says goodbye.
func (s *session) close() {
	_ = s.client.Quit()
	_ = s.conn.Close()
}

// judge reads an answer: RFC 5321, section 4.2.1. Answers of 5xx are final, but
// for those that are about signing in and the order of commands.
func judge(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	var answer *textproto.Error
	if errors.As(err, &answer) && answer.Code/100 == 5 {
		switch answer.Code {
		case 503, 530, 534, 535, 538: // RFC 4954
		default:
			return refusedError{err}
		}
	}
	return err
}
