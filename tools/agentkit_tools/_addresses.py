"""What an address is: public, private, a cloud metadata service; also when it hides in another."""

from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import TypeAlias

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
METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data"})
"""Names of metadata services, whatever address they have."""

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


def is_metadata(address: Address) -> bool:
    """Whether it is where a cloud tells its machines their secrets."""
    return any(each in network for each in meanings(address) for network in _METADATA)


def is_public(address: Address) -> bool:
    """Whether everything it may mean is reachable by anyone.

    >>> from ipaddress import ip_address
    >>> is_public(ip_address("93.184.216.34")), is_public(ip_address("::ffff:10.0.0.1"))
    (True, False)
    """
    return all(
        each.is_global and not each.is_multicast and not any(each in net for net in _NOT_PUBLIC)
        for each in meanings(address)
    )


def meanings(address: Address) -> Iterator[Address]:
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


def kind(address: Address) -> str:
    """Return in a word why an address is not public."""
    for name in ("loopback", "link_local", "multicast", "unspecified", "private"):
        if any(getattr(each, f"is_{name}") for each in meanings(address)):
            return name.replace("_", "-")
    return "reserved"
