"""Which addresses a fetch may dial: public ones, those that were allowed, metadata never."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from agentkit.errors import ConfigurationError, ToolError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_METADATA: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "169.254.169.254/32",  # AWS, GCP, Azure, OpenStack, and most others
        "169.254.170.2/32",  # AWS ECS
        "169.254.170.23/32",  # AWS EKS
        "168.63.129.16/32",  # Azure platform
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle, older
        "fd00:ec2::254/128",
        "fd00:ec2::23/128",
        "fd20:ce::254/128",  # GCP
    )
)
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data"})

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "fec0::/10",  # site-local, deprecated, still routed in places
        "64:ff9b:1::/48",  # NAT64 of a local network, RFC 8215
        "192.88.99.0/24",  # 6to4 relays
    )
)
_COMPATIBLE = ip_network("::/96")
_ISATAP = (0x5EFE, 0x0200_5EFE)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What may be dialled beyond public addresses."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def read(cls, entries: Iterable[str]) -> "AddressRules":
        """Read addresses, networks and host names.

        >>> AddressRules.read(["10.0.0.0/8", "wiki.local"]).hosts
        frozenset({'wiki.local'})

        Raises:
            ConfigurationError: an entry is none of them.
        """
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in filter(None, (entry.strip().lower() for entry in entries)):
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError as error:
                if not entry.replace("-", "").replace(".", "").isalnum():
                    raise ConfigurationError(
                        f"{entry!r} is no address, network or host name.",
                        hint="Write AGENTKIT_FETCH_ALLOW=127.0.0.1,10.0.0.0/8,wiki.local",
                    ) from error
                hosts.add(entry.rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Refuse a host if any of its addresses must not be dialled.

        Raises:
            ToolError: says which address, and why.
        """
        name = host.lower().rstrip(".")
        for text in addresses:
            address = ip_address(text.partition("%")[0])
            if name in _METADATA_HOSTS or _is_metadata(address):
                raise ToolError(f"{host} is refused: {address} is a cloud metadata service.")
            if name in self.hosts or self._allows(address) or _is_public(address):
                continue
            raise ToolError(
                f"{host} is refused: {address} is not a public address ({_kind(address)}).",
                hint=f"To allow it: AGENTKIT_FETCH_ALLOW={address}",
            )

    def _allows(self, address: Address) -> bool:
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self.networks)


def _is_metadata(address: Address) -> bool:
    return any(each in network for each in _meanings(address) for network in _METADATA)


def _is_public(address: Address) -> bool:
    return all(
        each.is_global and not each.is_multicast and not any(each in net for net in _NOT_PUBLIC)
        for each in _meanings(address)
    )


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and every IPv4 address that is hidden inside an IPv6 one."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or address in _COMPATIBLE or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        yield low


def _kind(address: Address) -> str:
    for name in ("loopback", "link_local", "multicast", "unspecified", "private"):
        if any(getattr(each, f"is_{name}") for each in _meanings(address)):
            return name.replace("_", "-")
    return "reserved"
