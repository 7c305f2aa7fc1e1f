# A mail server for tests: prints each e-mail it takes as a line of JSON.
#   smtp.py FAILURES [CERTIFICATE KEY USER PASSWORD]
# Refuses the first FAILURES messages. With a certificate it wants STARTTLS and the password. Prints its port first.
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

failures = int(sys.argv[1])
options = {}
if len(sys.argv) > 2:
    certificate, key, user, password = sys.argv[2:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()))

    options = dict(tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        global failures
        if failures > 0:
            failures -= 1
            return "451 try again later"
        mail = dict(sender=envelope.mail_from, to=envelope.rcpt_tos, tls=session.ssl is not None, text=envelope.content.decode())
        print(json.dumps(mail), flush=True)
        return "250 taken"


async def main():
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
