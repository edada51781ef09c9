//! Which addresses a node may have.
//!
//! A node's address comes from the provider's list, in the end from a marketplace host. A host that could name any
//! address could point the keeper into its own machine, the private network around it or a cloud's metadata service. So
//! only globally routable unicast addresses pass. The blocks are those that the IANA special-purpose address registries
//! (RFC 6890 and its updates) mark as not globally reachable, plus multicast, plus every IPv6 form that carries an IPv4
//! address: those are judged by what they carry, or refused where a relay of unknown reach would unpack them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is globally routable unicast.
#[must_use]
pub fn globally_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => global_v4(address),
        IpAddr::V6(address) => global_v6(address),
    }
}

fn global_v4(address: Ipv4Addr) -> bool {
    let refused = match address.octets() {
        // "This network", loopback, private, and everything from multicast upwards.
        [0 | 10 | 127 | 224.., ..] => true,
        // Shared by carriers (RFC 6598), link-local with the clouds' metadata service, private.
        [100, second, ..] => (64..128).contains(&second),
        [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        // Protocol assignments, the retired 6to4 relay, benchmarks (RFC 2544), documentation.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            true
        }
        _ => false,
    };
    !refused
}

fn global_v6(address: Ipv6Addr) -> bool {
    let carried = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        global_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4-mapped, and NAT64's well-known prefix (RFC 6052): the address that is carried decides.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        // Protocol assignments with Teredo, documentation (RFC 3849, RFC 9637), 6to4.
        [0x2001, second, ..] => second >= 0x0200 && second != 0x0db8,
        [0x3fff, second, ..] => second >= 0x1000,
        [0x2002, ..] => false,
        // Global unicast is 2000::/3; loopback, unique-local, link-local, site-local, multicast and local-use NAT64
        // (RFC 8215) lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(globally_routable(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn nothing_points_the_keeper_into_private_networks() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "3fff:fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!globally_routable(address.parse().unwrap()), "{address}");
        }
    }
}
