//! Judges a URL before it is called. Literal addresses are judged here; a name's
//! addresses are judged in `resolver`, at the moment of connecting.

use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

use super::address::{BadRange, IpRange, is_public};

/// The longest URL that is called.
pub const MAX_URL_BYTES: usize = 2048;

/// The longest host name that DNS knows.
const MAX_HOST_BYTES: usize = 253;

/// Endings that are never names on the public internet.
const LOCAL_ENDINGS: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// The outbound policy: https on port 443 to public hosts, and besides those only
/// what `network.allow` lets through, where http and any port will do.
///
/// A local name (`localhost`, a name without a dot, `*.local`, `*.internal`) is
/// called only at addresses inside `network.allow`. Any other name needs https and
/// port 443 even if its address is inside.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Arc<[IpRange]>,
}

/// The rule that a target breaks. Says nothing of the target itself: a link may
/// carry credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Over [`MAX_URL_BYTES`].
    #[error("the URL is longer than 2048 bytes")]
    TooLong,
    /// Parsers disagree about these; nobody needs them.
    #[error("the URL contains a space, a control character or a backslash")]
    Character,
    /// Not an absolute URL with `//` and a host.
    #[error("not a URL with a host")]
    Malformed,
    /// Neither https nor http to an allowed host.
    #[error("only https is called")]
    Scheme,
    /// `user@` in front of the host.
    #[error("the URL contains user information")]
    UserInfo,
    /// Another port than 443 of a host that is not allowed explicitly.
    #[error("only port 443 is called")]
    Port,
    /// A name of a private network.
    #[error("the host is a local name")]
    LocalName,
    /// An address that is neither public nor allowed.
    #[error("the address is not public")]
    Address,
    /// A name with no public or allowed address.
    #[error("the host name leads to no public address")]
    Resolved,
}

impl Guard {
    /// Reads `network.allow`.
    pub fn new(allow: &[impl AsRef<str>]) -> Result<Self, BadRange> {
        let allow = allow.iter().map(|entry| entry.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { allow })
    }

    /// Whether an address may be connected to.
    pub fn permits(&self, address: IpAddr) -> bool {
        is_public(address) || self.allows(address)
    }

    /// Whether an address a name has led to may be connected to: local names must
    /// stay inside the ranges allowed, or a search domain could lead them anywhere.
    pub(super) fn permits_as(&self, name: &str, address: IpAddr) -> bool {
        if is_local_name(name) { self.allows(address) } else { self.permits(address) }
    }

    /// Judges a URL and gives it back in the one form to call. Run it on every hop:
    /// literal addresses never reach the resolver.
    pub fn check_url(&self, input: &str) -> Result<Url, Forbidden> {
        check_text(input)?;
        let url = Url::parse(input).map_err(|_| Forbidden::Malformed)?;
        // Escaping what is not ASCII makes it longer.
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(Forbidden::TooLong);
        }
        let trusted = match url.host() {
            Some(Host::Ipv4(address)) => self.check_address(address.into())?,
            Some(Host::Ipv6(address)) => self.check_address(address.into())?,
            Some(Host::Domain(name)) => self.check_name(name)?,
            None => return Err(Forbidden::Malformed),
        };
        match url.scheme() {
            "https" if trusted || url.port().is_none() => Ok(url),
            "https" => Err(Forbidden::Port),
            "http" if trusted => Ok(url),
            _ => Err(Forbidden::Scheme),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|range| range.contains(address))
    }

    /// Whether it is trusted, that is, allowed explicitly.
    fn check_address(&self, address: IpAddr) -> Result<bool, Forbidden> {
        if !self.permits(address) {
            return Err(Forbidden::Address);
        }
        Ok(self.allows(address))
    }

    fn check_name(&self, name: &str) -> Result<bool, Forbidden> {
        let bare = without_final_dot(name);
        if bare.len() > MAX_HOST_BYTES || bare.split('.').any(str::is_empty) {
            return Err(Forbidden::Malformed);
        }
        match is_local_name(name) {
            // The resolver keeps it inside the ranges allowed.
            true if self.allow.is_empty() => Err(Forbidden::LocalName),
            local => Ok(local),
        }
    }
}

/// What is judged on the raw text, because parsing hides it.
fn check_text(input: &str) -> Result<(), Forbidden> {
    if input.len() > MAX_URL_BYTES {
        return Err(Forbidden::TooLong);
    }
    if input.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(Forbidden::Character);
    }
    let (scheme, rest) = input.split_once(':').ok_or(Forbidden::Malformed)?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err(Forbidden::Scheme);
    }
    let rest = rest.strip_prefix("//").ok_or(Forbidden::Malformed)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Forbidden::UserInfo);
    }
    if authority.is_empty() { Err(Forbidden::Malformed) } else { Ok(()) }
}

fn is_local_name(name: &str) -> bool {
    let name = without_final_dot(name).to_ascii_lowercase();
    !name.contains('.') || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
