"""Which addresses a webhook may be sent to, in all the ways in which they can be written."""

import ipaddress
import random

import pytest

from jobd.engine.addresses import may_be_sent_to

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


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_BY_TRANSLATION)
def test_the_public_internet_may_be_sent_to(address: str) -> None:
    assert may_be_sent_to(address)


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_may_not(address: str) -> None:
    assert not may_be_sent_to(address)


def test_nothing_that_python_calls_not_global_may_be_sent_to() -> None:
    rng = random.Random(1)
    networks = ["0.0.0.0/0", "192.0.0.0/8", "100.0.0.0/8", "::/0", "2000::/4", "fc00::/6", "::/90"]
    for text in networks:
        network = ipaddress.ip_network(text)
        for _ in range(3000):
            address = network[rng.randrange(network.num_addresses)]
            if not address.is_global or address.is_multicast:
                mapped = getattr(address, "ipv4_mapped", None)
                assert not may_be_sent_to(str(address)) or (mapped is not None and mapped.is_global), address


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
