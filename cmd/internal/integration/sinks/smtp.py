"""A mail server on aiosmtpd that keeps mail in a Maildir: PORT MAILDIR CERT KEY USER PASSWORD.

It takes mail only over TLS, from who has signed in, and answers once it is on disk.
"""

import asyncio
import ssl
import sys

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult

port, maildir, cert, key, user, password = sys.argv[1:]


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == user.encode() and data.password == password.encode())


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    handler = Mailbox(maildir)

    def serve():
        return SMTP(handler, hostname="localhost", tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate)

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", int(port))
    await server.serve_forever()


asyncio.run(main())
