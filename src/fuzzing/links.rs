//! Links: what the outbound policy lets through leads to a public host over https,
//! judged here a second time and in other words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::{fields, seed, text};
use crate::network::{Guard, IpRange, MAX_URL_BYTES, is_public};

pub(super) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 4 {
        0 => link(&text(bytes)),
        1 => address(bytes),
        2 => range(bytes),
        _ => allowed(bytes),
    }
}

fn link(input: &str) {
    let guard = Guard::default();
    let Ok(url) = guard.check_url(input) else { return };
    assert!(url.as_str().len() <= MAX_URL_BYTES, "{} bytes", url.as_str().len());
    assert_eq!((url.scheme(), url.port(), url.username(), url.password()), ("https", None, "", None), "{url}");
    assert_public_host(&url);
    // The form that is called is judged as its source was, and stays as it is.
    assert_eq!(guard.check_url(url.as_str()).as_ref(), Ok(&url), "{input:?}");
}

fn assert_public_host(url: &Url) {
    match url.host() {
        Some(Host::Ipv4(v4)) => assert!(!is_special(v4), "{url}"),
        Some(Host::Ipv6(v6)) => assert!(!is_special_v6(v6), "{url}"),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let last = name.rsplit('.').next().unwrap_or_default();
            // A resolver would read a name that ends in a number as an address.
            let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let numeric = hex || last.bytes().all(|byte| byte.is_ascii_digit());
            let local = ["localhost", "local", "internal"].contains(&last) || name.ends_with(".home.arpa");
            assert!(name.contains('.') && !numeric && !local, "{url}");
            assert!(name.bytes().all(|byte| !byte.is_ascii_control() && !b" %/?#@\\:".contains(&byte)), "{url}");
        }
        None => panic!("no host in {url}"),
    }
}

/// The ranges that matter most, by the standard library's own words for them.
fn is_special(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
}

fn is_special_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, d, .., y, z] = v6.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_special(v4);
    }
    match (a, b) {
        (0x64, 0xff9b) if c == 0 && d == 0 => is_special(embedded(y, z)),
        (0x2002, _) => is_special(embedded(b, c)),
        _ => v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || a & 0xe000 != 0x2000,
    }
}

fn address(bytes: &[u8]) {
    let address = match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => return,
        },
    };
    if is_public(address) {
        match address {
            IpAddr::V4(v4) => assert!(!is_special(v4), "{v4}"),
            IpAddr::V6(v6) => assert!(!is_special_v6(v6), "{v6}"),
        }
    }
    assert_eq!(is_public(address), is_public(address.to_canonical()), "{address}");
    let host = Url::parse(&format!("https://{}/", Host::<String>::from_ip(address)));
    let url = host.expect("an address is a host");
    assert_eq!(Guard::default().check_url(url.as_str()).is_ok(), is_public(address), "{address}");
}

trait FromIp {
    fn from_ip(address: IpAddr) -> Self;
}

impl FromIp for Host<String> {
    fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::Ipv4(v4),
            IpAddr::V6(v6) => Self::Ipv6(v6),
        }
    }
}

/// A range holds its own first address, and of two neighbours in another family none.
fn range(bytes: &[u8]) {
    let text = text(bytes);
    let Ok(range) = text.parse::<IpRange>() else { return };
    let base: IpAddr = text.split('/').next().unwrap_or_default().parse().expect("it was read");
    let mapped_range = base != base.to_canonical() && text.contains('/');
    assert!(mapped_range || range.contains(base), "{text}");
    assert_eq!(text.parse(), Ok(range));
}

/// With ranges allowed, what is let through is either public or inside one of them;
/// a local name is left to the resolver.
fn allowed(bytes: &[u8]) {
    let [range, input] = fields(bytes);
    let (range, input) = (text(range), text(input));
    let Ok(guard) = Guard::new(&[&*range]) else { return };
    let range: IpRange = range.parse().expect("it was read");
    let Ok(url) = guard.check_url(&input) else { return };
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        _ => return,
    };
    let strict = url.scheme() == "https" && url.port().is_none() && is_public(address);
    assert!(range.contains(address) || strict, "{url}");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let links = [
        "https://v3b.fal.media/files/example/out.mp4?e=1&s=abc",
        "https://8.8.8.8/x",
        "https://[2606:4700:4700::1111]/",
        "https://[64:ff9b::808:808]/",
        "https://bücher.example/ß?q=ü#f",
        "https://example.com.:443/a/../b",
        "HTTPS://EXAMPLE.com/%2e%2e/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://1.2.3/",
        "https://①②⑦.0.0.1/",
        "https://localhost/",
        "https://metadata.google.internal/",
        "https://user@evil.example@host.example/",
    ];
    let ranges = ["10.0.0.0/8", "fd00::/8", "::ffff:10.1.2.3", "127.0.0.1"];
    let all = links.iter().map(|link| seed(0, link)).chain(ranges.iter().map(|range| seed(2, range)));
    all.chain([
        seed(1, [169, 254, 169, 254]),
        seed(1, Ipv6Addr::new(0x2002, 0x7f00, 1, 0, 0, 0, 0, 1).octets()),
        seed(3, b"127.0.0.0/8\0http://127.0.0.1:9090/x"),
        seed(3, b"127.0.0.0/8\0http://localhost:9090/x"),
        seed(3, b"::/0\0https://[fd00::1]:8443/"),
    ])
    .collect()
}
