// Package email is a sink that mails alerts: a message holds up to `digest` of
// them, its subject and text are templates.
//
// Package go-mail writes messages and speaks SMTP; session.go holds what the
// server's answers mean. The Message-ID is made of the ids of the message's
// alerts, so that one that comes twice can be seen.
package email
