//! Kling's credentials: a fixed key, or a pair of keys that signs short-lived
//! tokens, which are kept until shortly before their end.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::wire::kling::token;

/// How long a token is used, in seconds; it is valid for 1800.
const TOKEN_USED_S: u64 = 25 * 60;

/// What proves to Kling who calls.
#[derive(Clone)]
pub enum KlingCredentials {
    /// For both standards.
    ApiKey(SecretString),
    /// For the legacy standard only.
    AccessKey {
        /// Names the pair.
        access: SecretString,
        /// Signs.
        secret: SecretString,
    },
}

impl fmt::Debug for KlingCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey(_) => "ApiKey(..)",
            Self::AccessKey { .. } => "AccessKey(..)",
        })
    }
}

impl KlingCredentials {
    /// Every secret, for the redactor.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        match self {
            Self::ApiKey(key) => vec![key.clone()],
            Self::AccessKey { access, secret } => vec![access.clone(), secret.clone()],
        }
    }
}

/// Writes the header that proves who calls.
pub(super) struct Signer {
    credentials: KlingCredentials,
    /// The token in use and when it was signed. Held for the copy or the signing
    /// only, never across a call.
    token: Mutex<Option<(HeaderValue, u64)>>,
}

impl Signer {
    pub(super) fn new(credentials: KlingCredentials) -> Self {
        Self { credentials, token: Mutex::new(None) }
    }

    /// Whether the new standard takes these credentials.
    pub(super) fn fits_new_standard(&self) -> bool {
        matches!(self.credentials, KlingCredentials::ApiKey(_))
    }

    /// Whether a refusal for the token's times can be cured.
    pub(super) fn can_sign_again(&self) -> bool {
        matches!(self.credentials, KlingCredentials::AccessKey { .. })
    }

    /// Throws the token away.
    pub(super) fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The value of `Authorization`; nothing when the key holds what no header can.
    pub(super) fn header(&self, now_s: u64) -> Option<HeaderValue> {
        let (access, secret) = match &self.credentials {
            KlingCredentials::ApiKey(key) => return bearer(key.expose_secret()),
            KlingCredentials::AccessKey { access, secret } => (access, secret),
        };
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((header, signed_s)) = kept.as_ref() {
            // A token from the future was signed before the clock was set back.
            if (*signed_s..*signed_s + TOKEN_USED_S).contains(&now_s) {
                return Some(header.clone());
            }
        }
        let header = bearer(&token(access.expose_secret(), secret.expose_secret(), now_s))?;
        *kept = Some((header.clone(), now_s));
        Some(header)
    }
}

fn bearer(key: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new(KlingCredentials::AccessKey { access: "ak-example".into(), secret: "sk-example".into() })
    }

    #[test]
    fn a_token_is_kept_for_its_time_and_no_longer() {
        let signer = signer();
        let first = signer.header(1_790_000_000).unwrap();
        assert_eq!(signer.header(1_790_000_000 + TOKEN_USED_S - 1).unwrap(), first);
        let second = signer.header(1_790_000_000 + TOKEN_USED_S).unwrap();
        assert_ne!(second, first);
        assert_eq!(signer.header(1_790_000_000).unwrap(), first, "the clock was set back");
        signer.forget_token();
        assert_ne!(signer.header(1_790_000_001).unwrap(), first);
    }

    #[test]
    fn debug_shows_no_key() {
        let credentials = signer().credentials;
        assert_eq!(format!("{credentials:?}"), "AccessKey(..)");
        assert_eq!(format!("{:?}", signer().header(1).unwrap()), "Sensitive");
    }
}
