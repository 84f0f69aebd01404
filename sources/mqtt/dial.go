package mqtt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// dial opens a connection to a broker, without a word of MQTT on it yet. The
// connection outlives ctx.
func dial(ctx context.Context, b *broker, config *tls.Config) (net.Conn, error) {
	if b.encrypted() && config.ServerName == "" {
		config = config.Clone()
		config.ServerName = b.url.Hostname()
	}
	switch b.url.Scheme {
	case "mqtt":
		return (&net.Dialer{}).DialContext(ctx, "tcp", b.address)
	case "mqtts":
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", b.address)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	conn, response, err := websocket.Dial(ctx, b.url.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		return nil, err
	}
	if got := response.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
		_ = conn.CloseNow()
		return nil, fmt.Errorf("the WebSocket server does not speak mqtt (it offers %q): the path of the URL may be wrong", got)
	}
	return newWebSocket(websocket.NetConn(context.WithoutCancel(ctx), conn, websocket.MessageBinary)), nil
}
