"""bridge/wire/address.py: the internet may be called, one's own networks only where they are allowed."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.address import Reach, literal, refusal

INTERNET = Reach()
PRIVATE = Reach(private=True)

OWN = {
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback", "10.0.0.1": "private", "172.31.255.255": "private",
    "192.168.1.1": "private", "::ffff:10.1.2.3": "private", "64:ff9b::192.168.0.1": "private",
    "fd12::1": "private", "fc00::1": "private", "100.64.0.1": "shared",
}  # fmt: skip
SPECIAL = {
    "169.254.169.254": "a metadata address", "::ffff:169.254.169.254": "a metadata address",
    "64:ff9b::169.254.169.254": "a metadata address", "168.63.129.16": "a metadata address",
    "100.100.100.200": "a metadata address", "192.0.0.192": "a metadata address",
    "fd00:ec2::254": "a metadata address",
    "169.254.1.1": "link local", "fe80::1": "link local", "192.0.2.1": "reserved", "198.18.0.1": "reserved",
    "2001::1": "reserved", "2001:db8::1": "reserved", "2002:7f00:1::": "a tunnel", "fec0::1": "reserved",
    "64:ff9b:1::7f00:1": "reserved", "100::1": "reserved", "::7f00:1": "reserved", "5f00::1": "reserved",
}  # fmt: skip
NOBODY = {
    "0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified", "224.0.0.1": "multicast",
    "239.255.255.250": "multicast", "ff02::1": "multicast", "::ffff:224.0.0.1": "multicast",
    "240.0.0.1": "reserved", "255.255.255.255": "reserved", "::ffff:0.0.0.0": "unspecified",
}  # fmt: skip


@pytest.mark.parametrize("text", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_the_internet_may_be_called(text: str) -> None:
    assert refusal(ip_address(text), INTERNET) == ""


@pytest.mark.parametrize(("text", "why"), (OWN | SPECIAL | NOBODY).items())
def test_nothing_else_may_unless_it_is_allowed(text: str, why: str) -> None:
    assert refusal(ip_address(text), INTERNET) == why


@pytest.mark.parametrize("text", OWN)
def test_private_networks_may_be_allowed(text: str) -> None:
    assert refusal(ip_address(text), PRIVATE) == ""


@pytest.mark.parametrize(("text", "why"), (SPECIAL | NOBODY).items())
def test_that_opens_no_metadata_address_and_nothing_odd(text: str, why: str) -> None:
    assert refusal(ip_address(text), PRIVATE) == why


def test_a_network_that_is_named_is_open_and_its_neighbour_is_not() -> None:
    reach = Reach(networks=(ip_network("10.1.0.0/16"), ip_network("169.254.7.0/24"), ip_network("fd12::/16")))
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "169.254.7.7", "fd12::5"):
        assert refusal(ip_address(text), reach) == ""
    for text in ("10.2.0.1", "127.0.0.1", "169.254.169.254", "fd13::1"):
        assert refusal(ip_address(text), reach) != ""


@pytest.mark.parametrize(("text", "why"), NOBODY.items())
def test_what_is_no_machine_is_never_called(text: str, why: str) -> None:
    everything = Reach(private=True, networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert refusal(ip_address(text), everything) == why


@given(st.integers(0, 2**32 - 1), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_a_wrapped_address_is_judged_as_the_one_within(number: int, wrap: str) -> None:
    wrapped = IPv6Address(int(IPv6Address(wrap)) | number)
    assert refusal(wrapped, INTERNET) == refusal(IPv4Address(number), INTERNET)


@given(st.integers(0, 2**128 - 1))
def test_nothing_that_python_calls_private_may_be_called(number: int) -> None:
    address = IPv6Address(number)
    if address.ipv4_mapped is not None:
        return
    if address.is_private or address.is_link_local or address.is_multicast or address.is_loopback:
        assert refusal(address, INTERNET) != ""


@given(st.integers(0, 2**32 - 1))
def test_nothing_of_ipv4_that_python_does_not_call_global_may_be_called(number: int) -> None:
    address = IPv4Address(number)
    if not address.is_global:
        assert refusal(address, INTERNET) != ""


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "[::1]", "2001:db8::1", "::ffff:127.0.0.1"])
def test_an_address_is_told_from_a_name(host: str) -> None:
    assert literal(host) == ip_address(host.strip("[]"))


@pytest.mark.parametrize("host", ["crm.example", "crm.example.", "localhost", "a_b.example", "xn--3e0b707e"])
def test_a_name_is_none(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0X7F000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "127.1",
        "127.0.1", "127.0.0.1.", "256.0.0.1", "1.2.3.4.5", "crm.0x7f", "fe80::1%eth0", "[fe80::1%25eth0]",
        ":::", "①②⑦.0.0.1", "127。0。0。1", "crm example", "crm/..", "", ".", "-", "a" * 254, "crm\n.example",
        "crm@x", "1:2", "0x",
    ],
)  # fmt: skip
def test_what_only_some_read_as_an_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="; "):
        literal(host)


@given(st.text())
def test_any_text_is_an_address_a_name_or_refused(host: str) -> None:
    try:
        found = literal(host)
    except ValueError:
        return
    assert found is not None or host.isascii()
