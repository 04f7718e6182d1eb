//! One account as the operator writes it down, and the adapter that is opened from
//! it. Parsing the file is left to others; judging the fields is done here.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Now;
use super::callback::CallbackReader;
use super::contract::Provider;
use super::fal::keys::PublishedKeys;
use super::fal::{Fal, FalError, FalSettings};
use super::http::HttpLimits;
use super::kling::{Kling, KlingCredentials, KlingSettings};
use crate::network::Guard;
use crate::wire::signature::is_standard_secret;

/// Kling's host for accounts outside mainland China.
const KLING_HOST: &str = "https://api-singapore.klingai.com";

/// fal's queue.
const FAL_HOST: &str = "https://queue.fal.run";

/// fal's other name for it.
const FAL_SECOND_HOST: &str = "https://queue.falrun.com";

/// fal's platform API.
const FAL_HISTORY: &str = "https://api.fal.ai/v1";

/// Where fal publishes the keys that it signs callbacks with.
const FAL_KEYS: &str = "https://rest.fal.ai/.well-known/jwks.json";

/// One set of credentials at one provider.
#[derive(Clone, Default)]
pub struct AccountSettings {
    /// What the operator calls it.
    pub name: String,
    /// `kling` or `fal`.
    pub provider: String,
    /// Host and prefix; the provider's own host when absent.
    pub base_url: Option<Url>,
    /// The fixed key.
    pub api_key: Option<SecretString>,
    /// Kling: names a pair of keys.
    pub access_key: Option<SecretString>,
    /// Kling: signs tokens.
    pub secret_key: Option<SecretString>,
    /// How many jobs may run at once, per model.
    pub max_parallel: Option<u32>,
    /// How many calls may be made per second.
    pub requests_per_second: Option<f64>,
    /// Kling: what signed callbacks are checked with.
    pub webhook_secret: Option<SecretString>,
    /// fal: where the keys of signed callbacks are published; fal's own when absent.
    pub jwks_url: Option<Url>,
    /// fal: its platform API; fal's own when the queue is fal's own too.
    pub history_url: Option<Url>,
}

impl fmt::Debug for AccountSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountSettings")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("max_parallel", &self.max_parallel)
            .field("requests_per_second", &self.requests_per_second)
            .finish_non_exhaustive()
    }
}

/// What is wrong with an account's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account {account:?}: {field}: {problem}")]
pub struct AccountError {
    /// The account's name.
    pub account: String,
    /// The field that is wrong.
    pub field: &'static str,
    /// In what way; never its value.
    pub problem: &'static str,
}

/// Opens the adapter of an account; calls nobody. Wants rustls' crypto provider
/// installed.
pub fn open(account: &AccountSettings, now: Now) -> Result<Arc<dyn Provider>, AccountError> {
    if account.name.is_empty() {
        return Err(account.wrong("name", "missing"));
    }
    account.check_limits()?;
    match account.provider.as_str() {
        "kling" => Ok(Arc::new(open_kling(account, now)?)),
        "fal" => Ok(Arc::new(open_fal(account, now)?)),
        _ => Err(account.wrong("provider", "must be kling or fal")),
    }
}

fn open_kling(account: &AccountSettings, now: Now) -> Result<Kling, AccountError> {
    let base_url = account.base_url(KLING_HOST)?;
    let credentials = account.kling_credentials()?;
    let settings = KlingSettings { base_url, credentials, limits: HttpLimits::default() };
    Kling::new(settings, now).map_err(|_| account.wrong("provider", NO_CLIENT))
}

fn open_fal(account: &AccountSettings, now: Now) -> Result<Fal, AccountError> {
    let base_url = account.base_url(FAL_HOST)?;
    let history_url = account.history_url(&base_url)?;
    if account.access_key.is_some() {
        return Err(account.wrong("access_key", "fal takes an api_key only"));
    }
    if account.secret_key.is_some() {
        return Err(account.wrong("secret_key", "fal takes an api_key only"));
    }
    let api_key = account.secret("api_key", &account.api_key)?.ok_or_else(|| account.wrong("api_key", "missing"))?;
    let settings = FalSettings { base_url, history_url, api_key, limits: HttpLimits::default() };
    Fal::new(settings, now).map_err(|error| match error {
        FalError::UnusableKey => account.wrong("api_key", NOT_A_HEADER),
        FalError::Client(_) => account.wrong("provider", NO_CLIENT),
    })
}

/// Opens the reader of an account's callbacks; calls nobody.
pub fn callback_reader(account: &AccountSettings, guard: Guard, now: Now) -> Result<CallbackReader, AccountError> {
    match account.provider.as_str() {
        "fal" if account.webhook_secret.is_some() => {
            Err(account.wrong("webhook_secret", "is Kling's; fal signs with the keys at jwks_url"))
        }
        "fal" => {
            let url = match &account.jwks_url {
                Some(url) => account.plain_url("jwks_url", url)?,
                None => Url::parse(FAL_KEYS).expect("it is a URL"),
            };
            guard
                .check_url(url.as_str())
                .map_err(|_| account.wrong("jwks_url", "is not allowed by the outbound policy"))?;
            let keys = PublishedKeys::new(url, guard).map_err(|_| account.wrong("provider", NO_CLIENT))?;
            Ok(CallbackReader::fal(keys, now))
        }
        _ if account.jwks_url.is_some() => Err(account.wrong("jwks_url", "is fal's; Kling signs with webhook_secret")),
        _ => Ok(CallbackReader::kling(account.webhook_secret()?, now)),
    }
}

const NO_CLIENT: &str = "its http client cannot be built";
const NOT_A_HEADER: &str = "holds characters that cannot be sent";

impl AccountSettings {
    fn wrong(&self, field: &'static str, problem: &'static str) -> AccountError {
        AccountError { account: self.name.clone(), field, problem }
    }

    fn check_limits(&self) -> Result<(), AccountError> {
        if self.max_parallel == Some(0) {
            return Err(self.wrong("max_parallel", "must be at least 1"));
        }
        if self.requests_per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(self.wrong("requests_per_second", "must be above 0"));
        }
        Ok(())
    }

    fn base_url(&self, default: &str) -> Result<Url, AccountError> {
        let Some(url) = &self.base_url else {
            return Ok(Url::parse(default).expect("the hosts above are URLs"));
        };
        self.plain_url("base_url", url)
    }

    /// Where fal's history is. An account whose queue is elsewhere has none unless it
    /// names one: its key is not fal's, or not meant for it.
    fn history_url(&self, base_url: &Url) -> Result<Option<Url>, AccountError> {
        let at_home = [FAL_HOST, FAL_SECOND_HOST].iter().any(|host| Url::parse(host).as_ref() == Ok(base_url));
        match &self.history_url {
            Some(url) => self.plain_url("history_url", url).map(Some),
            None => Ok(at_home.then(|| Url::parse(FAL_HISTORY).expect("it is a URL"))),
        }
    }

    fn plain_url(&self, field: &'static str, url: &Url) -> Result<Url, AccountError> {
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(self.wrong(field, "must be an http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(self.wrong(field, "must hold a host and a path only"));
        }
        Ok(url.clone())
    }

    /// The key, if it is there; an empty one is a mistake rather than an absence.
    fn secret(&self, field: &'static str, key: &Option<SecretString>) -> Result<Option<SecretString>, AccountError> {
        let Some(key) = key else { return Ok(None) };
        let text = key.expose_secret();
        if text.is_empty() {
            return Err(self.wrong(field, "is empty"));
        }
        // What a header cannot carry, and the line end that a key file leaves behind.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.wrong(field, NOT_A_HEADER));
        }
        Ok(Some(key.clone()))
    }

    fn webhook_secret(&self) -> Result<Option<SecretString>, AccountError> {
        let secret = self.secret("webhook_secret", &self.webhook_secret)?;
        match &secret {
            Some(secret) if !is_standard_secret(secret.expose_secret()) => {
                Err(self.wrong("webhook_secret", "must be whsec_ and base64, as the console shows it"))
            }
            _ => Ok(secret),
        }
    }

    fn kling_credentials(&self) -> Result<KlingCredentials, AccountError> {
        let access = self.secret("access_key", &self.access_key)?;
        let secret = self.secret("secret_key", &self.secret_key)?;
        match (self.secret("api_key", &self.api_key)?, access, secret) {
            (Some(key), None, None) => Ok(KlingCredentials::ApiKey(key)),
            (None, Some(access), Some(secret)) => Ok(KlingCredentials::AccessKey { access, secret }),
            (Some(_), _, _) => Err(self.wrong("api_key", "excludes access_key and secret_key")),
            (None, Some(_), None) => Err(self.wrong("secret_key", "missing beside access_key")),
            (None, None, Some(_)) => Err(self.wrong("access_key", "missing beside secret_key")),
            (None, None, None) => Err(self.wrong("api_key", "missing, and so are access_key and secret_key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::providers::scripted::install_crypto;

    fn kling() -> AccountSettings {
        AccountSettings { name: "main".into(), provider: "kling".into(), ..AccountSettings::default() }
    }

    fn problem_of(account: &AccountSettings) -> &'static str {
        install_crypto();
        open(account, Arc::new(|| SystemTime::UNIX_EPOCH)).map_or_else(|error| error.field, |_| "none")
    }

    #[test]
    fn each_mistake_names_its_field() {
        let key = || Some(SecretString::from("k-123456"));
        let url = |text| Some(Url::parse(text).unwrap());
        let fal = || AccountSettings { provider: "fal".into(), api_key: key(), ..kling() };
        for (account, field) in [
            (AccountSettings { api_key: key(), ..kling() }, "none"),
            (AccountSettings { access_key: key(), secret_key: key(), ..kling() }, "none"),
            (fal(), "none"),
            (AccountSettings { base_url: url("http://127.0.0.1:9090/kling"), api_key: key(), ..kling() }, "none"),
            (AccountSettings { name: String::new(), ..fal() }, "name"),
            (AccountSettings { provider: "sora".into(), ..fal() }, "provider"),
            (kling(), "api_key"),
            (AccountSettings { access_key: key(), ..kling() }, "secret_key"),
            (AccountSettings { secret_key: key(), ..kling() }, "access_key"),
            (AccountSettings { api_key: key(), access_key: key(), ..kling() }, "api_key"),
            (AccountSettings { api_key: Some("".into()), ..kling() }, "api_key"),
            (AccountSettings { api_key: Some("line\n".into()), ..fal() }, "api_key"),
            (AccountSettings { access_key: key(), ..fal() }, "access_key"),
            (AccountSettings { base_url: url("ftp://host/"), ..fal() }, "base_url"),
            (AccountSettings { base_url: url("https://u:p@host/"), ..fal() }, "base_url"),
            (AccountSettings { base_url: url("https://host/?a"), ..fal() }, "base_url"),
            (AccountSettings { history_url: url("http://127.0.0.1:9090/v1"), ..fal() }, "none"),
            (AccountSettings { history_url: url("https://host/?a"), ..fal() }, "history_url"),
            (AccountSettings { max_parallel: Some(0), ..fal() }, "max_parallel"),
            (AccountSettings { requests_per_second: Some(f64::NAN), ..fal() }, "requests_per_second"),
        ] {
            assert_eq!(problem_of(&account), field, "{account:?}");
        }
    }

    #[test]
    fn whose_callbacks_cannot_be_read_is_told_at_the_start() {
        install_crypto();
        let url = |text| Some(Url::parse(text).unwrap());
        let fal = || AccountSettings { provider: "fal".into(), ..kling() };
        let secret = |text: &str| Some(SecretString::from(text));
        for (account, field) in [
            (kling(), "none"),
            (fal(), "none"),
            (AccountSettings { webhook_secret: secret("whsec_ZXhhbXBsZQ=="), ..kling() }, "none"),
            (AccountSettings { webhook_secret: secret("whsec_"), ..kling() }, "webhook_secret"),
            (AccountSettings { webhook_secret: secret("no base64"), ..kling() }, "webhook_secret"),
            (AccountSettings { webhook_secret: secret("whsec_ZXhhbXBsZQ=="), ..fal() }, "webhook_secret"),
            (AccountSettings { jwks_url: url("https://rest.fal.ai/keys"), ..kling() }, "jwks_url"),
            (AccountSettings { jwks_url: url("https://keys.example/jwks.json"), ..fal() }, "none"),
            (AccountSettings { jwks_url: url("http://127.0.0.1/jwks.json"), ..fal() }, "jwks_url"),
            (AccountSettings { jwks_url: url("https://u:p@keys.example/"), ..fal() }, "jwks_url"),
        ] {
            let opened = callback_reader(&account, Guard::default(), Arc::new(|| SystemTime::UNIX_EPOCH));
            assert_eq!(opened.map_or_else(|error| error.field, |_| "none"), field, "{account:?}");
        }
    }

    #[test]
    fn a_key_goes_to_fals_history_only_from_fals_own_queue() {
        let url = |text| Some(Url::parse(text).unwrap());
        let fal = AccountSettings { provider: "fal".into(), ..kling() };
        for (base_url, history_url, expected) in [
            (None, None, url(FAL_HISTORY)),
            (url("https://queue.falrun.com/"), None, url(FAL_HISTORY)),
            (url("http://127.0.0.1:9090"), None, None),
            (url("http://127.0.0.1:9090"), url("http://127.0.0.1:9090/v1"), url("http://127.0.0.1:9090/v1")),
        ] {
            let account = AccountSettings { base_url, history_url, ..fal.clone() };
            let base_url = account.base_url(FAL_HOST).unwrap();
            assert_eq!(account.history_url(&base_url), Ok(expected));
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_a_key() {
        let account = AccountSettings { api_key: Some("s3cret-key\n".into()), ..kling() };
        let error = account.kling_credentials().unwrap_err();
        assert!(!format!("{account:?} {error} {error:?}").contains("s3cret"));
    }
}
