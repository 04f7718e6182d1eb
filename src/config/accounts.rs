//! The accounts: one set of provider credentials each, with its limits. Without
//! any in the settings, the variables that the providers' own tools read are used.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::error::ConfigError;
use super::secret::Secret;
use super::section::{Environment, Section};

const DEFAULT_REQUESTS_PER_SECOND: f64 = 5.0;

/// One set of provider credentials, with its limits.
#[derive(Debug, Clone)]
pub struct Account {
    /// The account's own name; tasks remember it.
    pub name: String,
    /// The provider it belongs to.
    pub provider: ProviderName,
    /// Another address for the provider; none means its own.
    pub base_url: Option<Url>,
    /// The API key.
    pub api_key: Option<Secret>,
    /// Kling's older pair, first half.
    pub access_key: Option<Secret>,
    /// Kling's older pair, second half.
    pub secret_key: Option<Secret>,
    /// Kling's: its callbacks are signed with it.
    pub webhook_secret: Option<Secret>,
    /// Where fal's callback keys are fetched; none means fal's own.
    pub jwks_url: Option<Url>,
    /// fal's platform API; none means fal's own, unless `base_url` is elsewhere.
    pub history_url: Option<Url>,
    /// Where events of its tasks go, rather than to `webhooks.url`.
    pub announce_url: Option<Url>,
    /// How many jobs may run at once.
    pub max_parallel: u32,
    /// How many calls a second the provider is sent.
    pub requests_per_second: f64,
}

/// A provider that there is an adapter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// Kling AI.
    Kling,
    /// fal.ai.
    Fal,
}

impl ProviderName {
    /// The name as written in settings and model names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kling => "kling",
            Self::Fal => "fal",
        }
    }

    /// What the smallest paid account of the provider allows.
    fn default_max_parallel(self) -> u32 {
        match self {
            Self::Kling => 3,
            Self::Fal => 2,
        }
    }
}

/// Reads the list of accounts, or makes one from the providers' usual variables.
pub(super) fn read(
    sections: Vec<Section>,
    environment: &Environment,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Account>, ConfigError> {
    if sections.is_empty() {
        return Ok(usual_accounts(environment));
    }
    let mut names = BTreeSet::new();
    let mut accounts = Vec::new();
    for section in sections {
        let name_key = section.name("name");
        let account = read_account(section, environment, variables)?;
        if !names.insert(account.name.clone()) {
            return Err(ConfigError::value(name_key, format!("another account is called {:?} too", account.name)));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

fn read_account(
    mut section: Section,
    environment: &Environment,
    variables: &BTreeMap<String, String>,
) -> Result<Account, ConfigError> {
    let name = section.text("name")?.ok_or_else(|| section.wrong("name", "is required"))?;
    if name.len() > 63 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(section.wrong("name", "expected 1 to 63 of letters, digits, dot, underscore and hyphen"));
    }
    let provider = match section.text("provider")?.as_deref() {
        Some("kling") => ProviderName::Kling,
        Some("fal") => ProviderName::Fal,
        Some(_) => return Err(section.wrong("provider", "unknown provider; expected kling or fal")),
        None => return Err(section.wrong("provider", "is required: kling or fal")),
    };
    let account = Account {
        name,
        provider,
        base_url: section.url("base_url")?,
        api_key: section.secret("api_key", environment)?,
        access_key: section.secret("access_key", environment)?,
        secret_key: section.secret("secret_key", environment)?,
        webhook_secret: section.secret("webhook_secret", environment)?,
        jwks_url: section.url("jwks_url")?,
        history_url: section.url("history_url")?,
        announce_url: section.url("announce_url")?,
        max_parallel: read_max_parallel(&mut section)?.unwrap_or(provider.default_max_parallel()),
        requests_per_second: read_rate(&mut section)?.unwrap_or(DEFAULT_REQUESTS_PER_SECOND),
    };
    check_credentials(&section, &account)?;
    section.finish(variables)?;
    Ok(account)
}

fn read_max_parallel(section: &mut Section) -> Result<Option<u32>, ConfigError> {
    let number = section.number("max_parallel")?;
    match number {
        Some(number) if number.fract() != 0.0 || !(1.0..=10_000.0).contains(&number) => {
            Err(section.wrong("max_parallel", "expected a whole number, 1 to 10000"))
        }
        _ => Ok(number.map(|number| number as u32)),
    }
}

fn read_rate(section: &mut Section) -> Result<Option<f64>, ConfigError> {
    let rate = section.number("requests_per_second")?;
    match rate {
        Some(rate) if rate <= 0.0 || rate > 1_000.0 => {
            Err(section.wrong("requests_per_second", "expected a number above 0, at most 1000"))
        }
        _ => Ok(rate),
    }
}

fn check_credentials(section: &Section, account: &Account) -> Result<(), ConfigError> {
    let pair = (account.access_key.is_some(), account.secret_key.is_some());
    match (account.provider, pair) {
        (ProviderName::Kling, (true, false)) => Err(section.wrong("secret_key", "is required beside access_key")),
        (ProviderName::Kling, (false, true)) => Err(section.wrong("access_key", "is required beside secret_key")),
        (ProviderName::Kling, (true, true)) if account.api_key.is_some() => {
            Err(section.wrong("api_key", "set api_key, or access_key and secret_key, not all three"))
        }
        (ProviderName::Kling, (false, false)) if account.api_key.is_none() => {
            Err(section.wrong("api_key", "is required; or set both access_key and secret_key"))
        }
        (ProviderName::Fal, _) if account.api_key.is_none() => Err(section.wrong("api_key", "is required")),
        (ProviderName::Fal, (true, _)) => Err(section.wrong("access_key", "is Kling's; fal takes api_key")),
        (ProviderName::Fal, (_, true)) => Err(section.wrong("secret_key", "is Kling's; fal takes api_key")),
        (ProviderName::Kling | ProviderName::Fal, _) => Ok(()),
    }
}

/// `KLINGAI_API_KEY`, or `KLINGAI_ACCESS_KEY` with `KLINGAI_SECRET_KEY`, makes an
/// account called `kling`; `FAL_KEY` makes one called `fal`.
fn usual_accounts(environment: &Environment) -> Vec<Account> {
    let variable = |name: &str| Secret::from_variable(name, environment);
    let mut accounts = Vec::new();
    if let Some(key) = variable("KLINGAI_API_KEY") {
        accounts.push(Account { api_key: Some(key), ..bare(ProviderName::Kling) });
    } else if let (Some(access), Some(secret)) = (variable("KLINGAI_ACCESS_KEY"), variable("KLINGAI_SECRET_KEY")) {
        accounts.push(Account { access_key: Some(access), secret_key: Some(secret), ..bare(ProviderName::Kling) });
    }
    if let Some(key) = variable("FAL_KEY") {
        accounts.push(Account { api_key: Some(key), ..bare(ProviderName::Fal) });
    }
    accounts
}

fn bare(provider: ProviderName) -> Account {
    Account {
        name: provider.as_str().to_owned(),
        provider,
        base_url: None,
        api_key: None,
        access_key: None,
        secret_key: None,
        webhook_secret: None,
        jwks_url: None,
        history_url: None,
        announce_url: None,
        max_parallel: provider.default_max_parallel(),
        requests_per_second: DEFAULT_REQUESTS_PER_SECOND,
    }
}
