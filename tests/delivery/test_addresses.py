"""Which addresses a webhook may be sent to, in all the ways in which they can be written."""

import ipaddress
import random

import pytest

from jobd.delivery.addresses import may_be_sent_to

PUBLIC = ["8.8.8.8", "1.1.1.1", "223.5.5.5", "2400:3200::1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]
PUBLIC_BY_TRANSLATION = ["64:ff9b::8.8.8.8", "2002:808:808::1"]
CLOSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2400:3200::5efe:10.0.0.1",
    "100::1",
]
# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry as of 2026, and multicast.
# Not asked of `ipaddress`: its releases differ.
SPECIAL = [
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments, two of them reachable: PCP and TURN anycast
    "192.0.2.0/24",
    "192.31.196.0/24",  # reachable: AS112
    "192.52.193.0/24",  # reachable: AMT
    "192.88.99.0/24",  # 6to4 relays, deprecated
    "192.168.0.0/16",
    "192.175.48.0/24",  # reachable: AS112
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",  # protocol assignments, Teredo among them; some are reachable: anycast, AMT, AS112, ORCHIDv2, DRIP
    "2001:db8::/32",
    "2620:4f:8000::/48",  # reachable: AS112
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
SIX_TO_FOUR = "2002::/16"


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_BY_TRANSLATION)
def test_the_public_internet_may_be_sent_to(address: str) -> None:
    assert may_be_sent_to(address)


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_may_not(address: str) -> None:
    assert not may_be_sent_to(address)


def samples(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> set[str]:
    rng = random.Random(1)
    count = network.num_addresses
    return {str(network[index]) for index in (0, count - 1, *(rng.randrange(count) for _ in range(50)))}


@pytest.mark.parametrize("block", SPECIAL)
def test_no_block_with_a_special_purpose_may_be_sent_to(block: str) -> None:
    assert [address for address in samples(ipaddress.ip_network(block)) if may_be_sent_to(address)] == []


@pytest.mark.parametrize("block", ["0.0.0.0/0", "100.0.0.0/8", "192.0.0.0/8", "198.0.0.0/8", "2000::/3", "2001::/16"])
def test_all_else_of_the_unicast_space_may_be_sent_to(block: str) -> None:
    special = [ipaddress.ip_network(text) for text in [*SPECIAL, SIX_TO_FOUR]]
    network = ipaddress.ip_network(block)
    others = [one for one in samples(network) if not any(ipaddress.ip_address(one) in other for other in special)]
    assert len(others) > 20
    assert [address for address in others if not may_be_sent_to(address)] == []


@pytest.mark.parametrize("first", ["::", "100::", "4000::", "8000::", "c000::", "e000::", "f000::", "fc00::", "fe00::"])
def test_nothing_outside_the_unicast_space_may_be_sent_to(first: str) -> None:
    # Shorter networks would hold mapped and translated addresses.
    addresses = samples(ipaddress.ip_network(f"{first}/16"))
    assert [address for address in addresses if may_be_sent_to(address)] == []


def test_a_6to4_address_is_judged_by_the_ipv4_one_in_it() -> None:
    for block in (text for text in SPECIAL if ":" not in text):
        for address in map(ipaddress.IPv4Address, samples(ipaddress.ip_network(block))):
            assert not may_be_sent_to(f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1")


@pytest.mark.parametrize(
    ("network", "address", "right"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "192.168.0.1", False),
        ("fd00::/8", "fd12::1", True),
        ("127.0.0.1/32", "127.0.0.2", False),
    ],
)
def test_the_operator_may_allow_a_network(network: str, address: str, right: bool) -> None:
    assert may_be_sent_to(address, [ipaddress.ip_network(network)]) is right
