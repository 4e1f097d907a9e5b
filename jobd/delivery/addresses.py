"""Which addresses a webhook may be sent to: those of the public internet, and what the operator allows besides.

The special-purpose registries of IANA (RFC 6890) as they stood in 2026; `ipaddress` has them too, but its answers
depend on Python's release (3.13 began to call 6to4 addresses not global). What carries an IPv4 address inside an IPv6
one is judged by both.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_CLOSED_6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")]
_ISATAP = 0x5EFE
_LOW_32 = 0xFFFFFFFF


def may_be_sent_to(text: str, allowed: Iterable[Network] = ()) -> bool:
    """Whether webhooks may be sent to an address, given as the resolver has it, perhaps with a zone
    (`fe80::1%eth0`).
    """
    address = ip_address(text.partition("%")[0])
    forms: list[Address] = [address, *_embedded(address)]
    networks = list(allowed)
    if any(form in network for form in forms for network in networks):
        return True
    return all(_is_open(form) for form in forms if not _only_carries(form))


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses in an IPv6 one: mapped, compatible, translated (NAT64), 6to4, Teredo, ISATAP."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if number >> 32 in (0, 0xFFFF, 0xFFFF0000) or address in _NAT64:
        yield IPv4Address(number & _LOW_32)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if number >> 32 & 0xFFFF == _ISATAP and number >> 48 & 0xFDFF == 0:
        yield IPv4Address(number & _LOW_32)


def _only_carries(address: Address) -> bool:
    """Whether it is only a way to write or to reach the IPv4 address in it: then that one alone is judged."""
    if isinstance(address, IPv4Address):
        return False
    return address.ipv4_mapped is not None or address in _NAT64 or address in _SIX_TO_FOUR


def _is_open(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _CLOSED_6)
