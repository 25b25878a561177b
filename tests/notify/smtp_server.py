"""An SMTP server for the tests: aiosmtpd (Debian's python3-aiosmtpd).

usage: smtp_server.py RECORD [option ...]

Listens on a free port of 127.0.0.1 and prints the port. Appends each accepted mail to RECORD as one line of JSON.

  --starttls CERT KEY   offers STARTTLS and takes no mail without it
  --implicit CERT KEY   speaks TLS from the first byte
  --login NAME:PASSWORD wants a login
  --greylist N          answers 451 to the first N mails
  --drop-in-data N      closes the connection in the middle of the first N mails
  --unknown ADDRESS     does not know this recipient: 550
  --drop-after-data N   accepts the first N mails, and closes the connection instead of saying so
"""

import argparse
import asyncio
import json
import ssl
import sys
import threading

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

parser = argparse.ArgumentParser()
parser.add_argument("record")
parser.add_argument("--starttls", nargs=2)
parser.add_argument("--implicit", nargs=2)
parser.add_argument("--login")
parser.add_argument("--greylist", type=int, default=0)
parser.add_argument("--drop-in-data", type=int, default=0)
parser.add_argument("--drop-after-data", type=int, default=0)
parser.add_argument("--unknown")
options = parser.parse_args()


def tls(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def authenticate(server, session, envelope, mechanism, data):
    name, _, password = options.login.partition(":")
    right = data.login == name.encode() and data.password == password.encode()
    return AuthResult(success=right, handled=right, auth_data=data)


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if options.greylist > 0:
            options.greylist -= 1
            return "451 4.7.1 Greylisted, come back later"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address == options.unknown:
            return "550 5.1.1 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope: Envelope):
        with open(options.record, "a", encoding="utf-8") as file:
            file.write(json.dumps({
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "tls": server.transport.get_extra_info("ssl_object") is not None,
                "user": session.auth_data.login.decode() if session.auth_data else None,
                "mail": envelope.original_content.decode("utf-8", "replace"),
            }) + "\n")
        if options.drop_after_data > 0:
            options.drop_after_data -= 1
            server.transport.abort()
        return "250 Accepted"


class Server(SMTP):
    async def smtp_DATA(self, arg):
        if options.drop_in_data > 0:
            options.drop_in_data -= 1
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


class Controller(UnthreadedController):
    def factory(self):
        return Server(
            self.handler,
            tls_context=tls(options.starttls) if options.starttls else None,
            require_starttls=bool(options.starttls),
            authenticator=authenticate if options.login else None,
            auth_required=bool(options.login),
            auth_require_tls=bool(options.starttls),
        )


loop = asyncio.new_event_loop()
controller = Controller(Handler(), hostname="127.0.0.1", port=0, loop=loop,
                        ssl_context=tls(options.implicit) if options.implicit else None)
controller.begin()
print(controller.server.sockets[0].getsockname()[1], flush=True)
# It ends with the test that started it: its standard input closes.
threading.Thread(target=loop.run_forever, daemon=True).start()
sys.stdin.read()
