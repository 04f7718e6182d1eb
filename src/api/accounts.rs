//! Which account buys a video: one of those that the settings hold for the model's
//! provider, spread evenly over the requests.

use std::hash::{DefaultHasher, Hash, Hasher};

use tonic::Status;

use super::status;
use crate::catalog::{Model, Wire};
use crate::task::id::AccountName;

/// The accounts that the settings hold.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Vec<Offer>);

/// What an account can be used for.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its name.
    pub name: AccountName,
    /// Its provider.
    pub provider: String,
    /// Whether it has an API key, which Kling's new standard asks for; an access
    /// key and a secret key open the older one only.
    pub api_key: bool,
}

impl Accounts {
    /// Offers these accounts.
    pub fn new(offers: Vec<Offer>) -> Self {
        Self(offers)
    }

    /// Whether there is an account for the model.
    pub fn serve(&self, model: &Model) -> bool {
        self.0.iter().any(|offer| offer.serves(model))
    }

    /// The account for a request. The same request id comes to the same account
    /// while the settings stay as they are.
    pub fn choose(&self, model: &Model, request_id: &str) -> Result<AccountName, Status> {
        let serving: Vec<_> = self.0.iter().filter(|offer| offer.serves(model)).collect();
        let mut hasher = DefaultHasher::new();
        request_id.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % serving.len().max(1) as u64).unwrap_or(0);
        serving.get(place).map(|offer| offer.name.clone()).ok_or_else(|| self.missing(model))
    }

    fn missing(&self, model: &Model) -> Status {
        let provider = model.name.provider();
        let needed = match self.0.iter().any(|offer| offer.provider == provider) {
            true => format!("{provider} needs an account with an api_key for this model"),
            false => format!("add one with provider = \"{provider}\""),
        };
        status::not_configured(model.name.as_str(), &needed)
    }
}

impl Offer {
    fn serves(&self, model: &Model) -> bool {
        self.provider == model.name.provider() && (self.api_key || model.wire != Wire::KlingNew)
    }
}
