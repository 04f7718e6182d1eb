//! The secret part of a callback's address: it proves that whoever calls was given
//! the address by us, and it names the attempt. Derived from a key of our own, so
//! that nothing has to be stored for each attempt.

use ring::hmac;
use url::Url;

/// How many hexadecimal digits a capability has: 128 bits.
const DIGITS: usize = 32;

/// Derives and checks capabilities.
#[derive(Clone)]
pub struct Capabilities(hmac::Key);

impl std::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Capabilities(..)")
    }
}

impl Capabilities {
    /// Works with this key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The capability of a marker.
    pub fn of(&self, marker: &str) -> String {
        let tag = hmac::sign(&self.0, marker.as_bytes());
        tag.as_ref()[..DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the capability of the marker, in constant time.
    pub fn admits(&self, marker: &str, capability: &str) -> bool {
        let (ours, theirs) = (self.of(marker), capability.as_bytes());
        let differences = ours.bytes().zip(theirs).fold(0, |found, (ours, theirs)| found | (ours ^ theirs));
        ours.len() == theirs.len() && differences == 0
    }
}

/// Where providers call back.
#[derive(Clone, Debug)]
pub struct CallbackAddresses {
    public_url: Url,
    capabilities: Capabilities,
}

impl CallbackAddresses {
    /// Addresses below this URL.
    pub fn new(public_url: Url, capabilities: Capabilities) -> Self {
        Self { public_url, capabilities }
    }

    /// The address that names this marker's attempt.
    pub fn of(&self, marker: &str) -> Url {
        let mut address = self.public_url.clone();
        let base = address.path().trim_end_matches('/').to_owned();
        address.set_path(&format!("{base}/callbacks/{marker}/{}", self.capabilities.of(marker)));
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_opens_its_own_marker_only() {
        let capabilities = Capabilities::new(&[7; 32]);
        let of_one = capabilities.of("vg-1-1");
        assert_eq!(of_one.len(), DIGITS);
        assert!(capabilities.admits("vg-1-1", &of_one));
        for (marker, capability) in [("vg-1-2", of_one.as_str()), ("vg-1-1", ""), ("vg-1-1", &of_one[1..])] {
            assert!(!capabilities.admits(marker, capability), "{marker} {capability}");
        }
        assert!(!Capabilities::new(&[8; 32]).admits("vg-1-1", &of_one));
    }
}
