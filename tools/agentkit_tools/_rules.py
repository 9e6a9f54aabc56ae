"""What a fetch may ask: hosts, ports and addresses, as whoever runs it has said."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from agentkit.errors import ConfigurationError, ToolError
from agentkit_tools._addresses import (
    METADATA_HOSTS,
    Address,
    Network,
    is_metadata,
    is_public,
    kind,
    meanings,
)

PORTS = frozenset({80, 443, 8080, 8443})
"""Ports that need no permission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be asked beyond public addresses on the usual ports, and what may not.

    Attributes:
        networks: may be asked although they are not public; their ports stay the usual ones.
        hosts: names and single addresses that may be asked, on each port.
        places: hosts that may be asked on one port; `*` opens a port of every host.
        deny: domains that are never asked; a domain includes its subdomains.
        deny_networks: never asked, whatever their name.
        only: domains beside which nothing is asked; all are if it is empty.
    """

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()
    deny: frozenset[str] = frozenset()
    deny_networks: tuple[Network, ...] = ()
    only: frozenset[str] = frozenset()

    @classmethod
    def read(
        cls, allow: Iterable[str] = (), deny: Iterable[str] = (), only: Iterable[str] = ()
    ) -> "Rules":
        """Read addresses, networks, host names, `host:port` and `*:port`.

        >>> rules = Rules.read(["10.0.0.0/8", "wiki.local", "build.local:9000"], deny=["ads.example"])
        >>> sorted(rules.hosts), sorted(rules.places), sorted(rules.deny)
        (['wiki.local'], [('build.local', 9000)], ['ads.example'])

        Raises:
            ConfigurationError: an entry is none of them.
        """
        networks, hosts, places = _sorted(allow, "AGENTKIT_FETCH_ALLOW", with_ports=True)
        denied, deny, _ = _sorted(deny, "AGENTKIT_FETCH_DENY")
        wide, only, _ = _sorted(only, "AGENTKIT_FETCH_ONLY")
        if wide:
            raise ConfigurationError(
                f"AGENTKIT_FETCH_ONLY takes host names, not the network {wide[0]}.",
                hint="Write AGENTKIT_FETCH_ONLY=docs.python.org,wiki.local",
            )
        return cls(
            networks=networks,
            hosts=hosts,
            places=places,
            deny=deny,
            deny_networks=(*denied, *map(ip_network, filter(_is_address, deny))),
            only=only,
        )

    def check_place(self, host: str, port: int) -> None:
        """Refuse a host by its name, its port, or the address that it is.

        Args:
            host: a name in ASCII, or an address; as `read_url` gives it.
            port: of the URL.

        Raises:
            ToolError: says which rule refused it.
        """
        if host in METADATA_HOSTS:
            raise ToolError(f"{host} is refused: it is a cloud metadata service.")
        if _is_within(host, self.deny):
            raise ToolError(f"{host} is refused: it is on the list of denied domains.")
        if self.only and not _is_within(host, self.only):
            raise ToolError(
                f"{host} is refused: only {', '.join(sorted(self.only)[:10])} may be read."
            )
        if _is_address(host):
            self.check_addresses(host, port, [host])
        is_usual = port in PORTS or ("*", port) in self.places
        if not is_usual and not self._names(host, port):
            raise ToolError(
                f"{host} is refused: port {port} is not one of 80, 443, 8080 and 8443.",
                hint=f"To allow it: AGENTKIT_FETCH_ALLOW={_place(host, port)}",
            )

    def check_addresses(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Refuse a host if any of its addresses must not be dialled.

        Raises:
            ToolError: says which address, and why.
        """
        for text in addresses:
            address = ip_address(text.partition("%")[0])
            if is_metadata(address):
                raise ToolError(f"{host} is refused: {address} is a cloud metadata service.")
            if _is_in(address, self.deny_networks):
                raise ToolError(f"{host} is refused: {address} is on the list of denied addresses.")
            if is_public(address) or self._names(host, port) or _is_allowed(address, self):
                continue
            raise ToolError(
                f"{host} is refused: {address} is not a public address ({kind(address)}).",
                hint=f"To allow it: AGENTKIT_FETCH_ALLOW={address}",
            )

    def _names(self, host: str, port: int) -> bool:
        return host in self.hosts or (host, port) in self.places


def _is_allowed(address: Address, rules: Rules) -> bool:
    plain = getattr(address, "ipv4_mapped", None) or address
    return str(plain) in rules.hosts or any(plain in network for network in rules.networks)


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(each in network for each in meanings(address) for network in networks)


def _is_within(host: str, domains: frozenset[str]) -> bool:
    """Whether a host is one of the domains or below one.

    >>> _is_within("a.ads.example", frozenset({"ads.example"}))
    True
    >>> _is_within("bads.example", frozenset({"ads.example"}))
    False
    """
    if not domains or _is_address(host):
        return host in domains
    labels = host.split(".")
    return any(".".join(labels[n:]) in domains for n in range(len(labels)))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sorted(
    entries: Iterable[str], variable: str, *, with_ports: bool = False
) -> tuple[tuple[Network, ...], frozenset[str], frozenset[tuple[str, int]]]:
    """Return the networks, the hosts and the places among the entries."""
    networks: list[Network] = []
    hosts: set[str] = set()
    places: set[tuple[str, int]] = set()
    for entry in filter(None, (entry.strip() for entry in entries)):
        try:
            if "/" in entry:
                networks.append(ip_network(entry, strict=False))
                continue
            host, port = _split(entry, with_ports=with_ports)
            if port is None:
                hosts.add(host)
            else:
                places.add((host, port))
        except ValueError as error:
            raise ConfigurationError(
                f"{entry!r} in {variable} is no address, network or host name.",
                hint=f"Write {variable}=127.0.0.1,10.0.0.0/8,wiki.local",
            ) from error
    return tuple(networks), frozenset(hosts), frozenset(places)


def _split(entry: str, *, with_ports: bool) -> tuple[str, int | None]:
    """Return host and port of `host`, `host:port`, `address`, `[address]` or `[address]:port`.

    Raises:
        ValueError: it is none of them.
    """
    bare = entry.lower().removeprefix("*.").rstrip(".")
    if _is_address(bare.strip("[]")):
        return str(ip_address(bare.strip("[]"))), None
    host, colon, port = bare.rpartition(":")
    if not colon:
        host, port = bare, ""
    if _is_address(host.strip("[]")):
        host = str(ip_address(host.strip("[]")))
    else:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
        is_every = host == "*" and colon
        if not is_every and not host.replace("-", "").replace(".", "").replace("_", "").isalnum():
            raise ValueError(entry)
    if colon and not (with_ports and 0 < int(port) < 65536):
        raise ValueError(entry)
    return host, int(port) if colon else None
