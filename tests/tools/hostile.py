"""What a hostile site serves, by path: documents, and places it sends its visitors to."""

import os
import time
import zlib
from functools import cache

from tests.tools.conftest import Site, SiteServer

SECRET = b"INTERNAL-SECRET"
INSIDE = "127.0.0.2"
"""Where the secret is; the hostile site is on 127.0.0.1, which stands for a public address."""

WORDS = b"<p>the words</p>"
DOCUMENTS: dict[str, bytes] = {
    "/public": b"<p>hostile but public</p>",
    "/divs-3000": b"<div>" * 3_000 + WORDS + b"</div>" * 3_000,
    "/divs-100000": b"<div>" * 100_000 + WORDS + b"</div>" * 100_000,
    "/table": b"<table>" + b"<tr><td>cell</td><td>the words</td></tr>" * 19_500 + b"</table>",
    "/attributes": b"<p " + b" ".join(b"a%d='x'" % n for n in range(100_000)) + b">the words</p>",
    "/unclosed": WORDS + b"<a href='" * 100_000,
    "/comments": WORDS + b"<!--" * 200_000,
    "/hidden": WORDS
    + b"".join(
        b"<%s>%s</%s>" % (tag, SECRET, tag.split()[0])
        for tag in (
            b"p hidden",
            b"div aria-hidden=true",
            b"template",
            b"noscript",
            b"dialog",
            b"b style='dis&#112;lay: none'",
            b"p style='visibility:hidden'",
            b"p style='font-size:0px'",
            b"p style='position:absolute;left:-9999px'",
            b"p style='color:#fff;background:white'",
            b"p style='opacity:0'",
        )
    )
    + b"<!-- %s --><ul><li hidden>%s<li>ok</ul>" % (SECRET, SECRET),
}
PLACES = {
    "private": "http://10.1.2.3/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "inside": "http://%s:{port}/",
    "file": "file:///etc/passwd",
    "password": "http://{host}@%s:{port}/",
    "port": "http://127.0.0.1:22/",
}


class Hostile(Site):
    """The site of an attacker."""

    def respond(self) -> None:
        server = self.server
        assert isinstance(server, SiteServer)
        kind, _, rest = self.path.strip("/").partition("/")
        if self.path in DOCUMENTS:
            self.answer(200, {}, DOCUMENTS[self.path])
        elif kind == "hops":  # /hops/3/private: three redirects, then the place
            number, _, place = rest.partition("/")
            there = f"/hops/{int(number) - 1}/{place}"
            if number == "1":
                there = PLACES[place].replace("%s", INSIDE)
                there = there.format(port=server.server_port, host="127.0.0.1")
            self.answer(302, {"Location": there}, b"")
        else:
            super().respond()

    def act_drip(self) -> None:
        self.start_text()
        try:
            while True:
                self.wfile.write(b".")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def act_huge(self) -> None:
        self.start_text(**{"Content-Length": "300000000"})
        try:
            for _ in range(3_000):
                self.wfile.write(b"x" * 100_000)
        except OSError:
            self.close_connection = True

    def act_bomb(self) -> None:
        headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
        self.answer(200, headers, bomb())

    def act_twice(self) -> None:
        self.answer(200, {"Content-Encoding": "gzip, gzip"}, bomb())

    def act_noise(self) -> None:
        self.answer(200, {"Content-Type": "application/pdf"}, os.urandom(50_000))

    def act_headers(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n")


@cache
def bomb() -> bytes:
    """Return 200 MB in 200 KB."""
    packer = zlib.compressobj(1, wbits=31)
    block = b"a" * 1_000_000
    return b"".join([packer.compress(block) for _ in range(200)]) + packer.flush()


class Inside(Site):
    """A server of the network that no page may reach."""

    def respond(self) -> None:
        self.answer(200, {}, SECRET)
