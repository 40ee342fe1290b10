//! Which addresses may be connected to.
//!
//! Invariant: an address that is not known to be one of the public internet is refused, unless it is allowed by name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that no public server has (IANA IPv4 Special-Purpose Address Registry, RFC 6890), and those of platforms'
/// own services that are public by their form.
const SPECIAL_V4: [&str; 17] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // With 169.254.169.254, the instance metadata of AWS and others.
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // The host of an Azure machine.
    "168.63.129.16/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
];
/// The only public addresses. IPv4 in IPv6 (`::ffff:0:0/96`, `::/96`, NAT64) and unique local addresses are outside, and
/// with them `fd00:ec2::254`, the instance metadata of AWS.
const GLOBAL_V6: &str = "2000::/3";
/// Exceptions from these: protocols and tunnels with Teredo, documentation, 6to4.
const SPECIAL_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// A range of addresses in CIDR notation (RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// Whether the address is one of the range. An IPv4 address is not one of a range of IPv6 addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length));
                (u32::from(range) ^ u32::from(address)) & mask.unwrap_or(0) == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length));
                (u128::from(range) ^ u128::from(address)) & mask.unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "is not a range of addresses such as 10.0.0.0/8 or fd00::/8";
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().map_err(|_| wrong)?,
            None => most,
        };
        (length <= most)
            .then_some(Self { address, length })
            .ok_or(wrong)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Which addresses may be connected to.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    /// Ranges beside the public addresses; `None` for all addresses.
    allowed: Option<Vec<Cidr>>,
}

impl AddressPolicy {
    /// Every address, for servers that an administrator has chosen to trust.
    pub fn any() -> Self {
        Self { allowed: None }
    }

    /// Public addresses, and these.
    pub fn public_and(allowed: Vec<Cidr>) -> Self {
        Self {
            allowed: Some(allowed),
        }
    }

    /// Whether the address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let is_public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        is_public || allowed.iter().any(|range| range.contains(address))
    }
}

fn is_in(range: &str, address: IpAddr) -> bool {
    range
        .parse::<Cidr>()
        .is_ok_and(|range| range.contains(address))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|range| is_in(range, address.into()))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    is_in(GLOBAL_V6, address.into()) && !SPECIAL_V6.iter().any(|range| is_in(range, address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: &AddressPolicy, address: &str) -> bool {
        policy.allows(address.parse().unwrap())
    }

    #[test]
    fn what_is_not_public_is_refused() {
        let policy = AddressPolicy::public_and(Vec::new());
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            // IPv4 in IPv6: mapped, compatible, NAT64, 6to4, Teredo; also of public addresses.
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!allows(&policy, refused), "{refused}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(allows(&policy, public), "{public}");
        }
        assert!(allows(&AddressPolicy::any(), "127.0.0.1"));
    }

    #[test]
    fn what_is_allowed_by_name_is_allowed_and_nothing_beside_it() {
        let ranges = ["127.0.0.1", "10.1.0.0/16", "fd00:aa::/32"];
        let policy =
            AddressPolicy::public_and(ranges.iter().map(|it| it.parse().unwrap()).collect());
        for allowed in ["127.0.0.1", "10.1.255.255", "fd00:aa:ff::1"] {
            assert!(allows(&policy, allowed), "{allowed}");
        }
        for refused in ["127.0.0.2", "10.2.0.0", "fd00:ab::1", "::ffff:10.1.0.1"] {
            assert!(!allows(&policy, refused), "{refused}");
        }
        let all = AddressPolicy::public_and(vec!["0.0.0.0/0".parse().unwrap()]);
        assert!(allows(&all, "10.0.0.1") && !allows(&all, "::1"));
    }

    #[test]
    fn a_range_is_read_as_it_is_written_or_not_at_all() {
        for text in ["10.0.0.0/8", "::/0", "fd00:ec2::254/128", "1.2.3.4/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("1.2.3.4".parse::<Cidr>().unwrap().to_string(), "1.2.3.4/32");
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "::/129",
            "localhost",
            "1.2.3.4/-1",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
