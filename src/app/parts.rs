//! The settings become the parts: each part has settings of its own and knows
//! nothing of the file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tracing::error;
use url::Url;

use super::StartError;
use crate::api::accounts::{Accounts, Offer};
use crate::archive::{Archive, ArchiveSettings};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, Account, ImageCheck, Secret, Settings};
use crate::failpoint::hastened;
use crate::images::{Check, Images};
use crate::ledger::Ledger;
use crate::ledger::admission::Admission;
use crate::ledger::announce::Announcing;
use crate::network::Guard;
use crate::outbox::{self, Outbox, Receivers};
use crate::providers::callback::CallbackReader;
use crate::providers::{self, AccountSettings};
use crate::store::backup::Shelf;
use crate::store::contract::TaskStore;
use crate::store::inputs::{Files, Inputs};
use crate::store::{self, StoreSettings};
use crate::supervisor::{self, AccountParts};
use crate::task::backoff::Polling;
use crate::task::id::AccountName;
use crate::upkeep::retention::{Remover, Retention};
use crate::upkeep::room::{Places, RoomKeeper};
use crate::webhook::Door;
use crate::wire::capability::{CallbackAddresses, Capabilities};
use crate::wire::signature::is_signing_secret;

/// How long the start waits for a bucket to answer.
const PROBE: Duration = Duration::from_secs(3);
/// How long a task rests at first that was in hand at three crashes in a row.
const QUARANTINE: Duration = Duration::from_secs(3600);

/// Everything the app holds together.
pub(super) struct Parts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) store: Arc<dyn TaskStore>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) accounts: Accounts,
    pub(super) guard: Guard,
    pub(super) clock: Clock,
    pub(super) supervisor: supervisor::Parts,
    pub(super) door: Door,
    pub(super) room: RoomKeeper,
    pub(super) shelf: Option<Arc<Shelf>>,
    pub(super) remover: Remover,
    pub(super) outbox: Outbox,
    pub(super) webhooks: bool,
}

/// Reads what is cheap to read first, so that a mistake is found before the store
/// is touched.
pub(super) async fn assemble(settings: &Settings, admission: Arc<Admission>) -> Result<Parts, StartError> {
    let clock = Clock::system();
    let catalog = Arc::new(catalog(settings.catalog.path.as_ref())?);
    let guard = Guard::new(&settings.network.allow).map_err(|error| StartError(format!("network.allow: {error}")))?;
    let receivers = receivers(settings, &guard)?;
    let post = outbox::by_http(guard.clone()).map_err(|error| StartError(format!("webhooks: {error}")))?;
    let accounts = open_accounts(&settings.accounts, &clock)?;
    let readers = open_readers(&settings.accounts, &guard, &clock)?;
    let archive = archive(settings, guard.clone()).await?;
    let store = store::open(&StoreSettings::new(&settings.store.path)).await;
    let store: Arc<dyn TaskStore> = store.map_err(|error| StartError(format!("store.path: {error}")))?;
    let ledger = Ledger::new(Arc::clone(&store), Arc::clone(&archive), clock.clone());
    let inputs = Inputs::open(Arc::clone(&store), &settings.store.path);
    let inputs = Arc::new(inputs.map_err(|error| StartError(format!("store.path: inputs: {error}")))?);
    let ledger = ledger.with_admission(Arc::clone(&admission)).with_inputs(Arc::clone(&inputs));
    let ledger = ledger.with_announcing(announcing(settings, &receivers));
    let images = Arc::new(images(settings, guard.clone(), &catalog)?);
    let ledger = ledger.with_images(Arc::clone(&images));
    let ledger = Arc::new(ledger);
    let places = Places {
        store: settings.store.path.clone(),
        archive: archive.folder().map(Into::into),
        fetches_at_once: supervisor::FETCHES_AT_ONCE as u64,
        reserve: settings.submit.disk_reserve,
    };
    let shelf = shelf(settings, &store, &clock)?;
    let room = RoomKeeper::start(places, Arc::clone(&ledger), admission).await;
    let key = ledger.callback_key().await.map_err(|error| StartError(format!("store.path: {error}")))?;
    let capabilities = Capabilities::new(&key);
    let supervisor = supervisor::Parts {
        ledger: Arc::clone(&ledger),
        archive,
        inputs: Some(inputs),
        images: Some(images),
        image_patience: settings.submit.image_patience,
        catalog: Arc::clone(&catalog),
        accounts,
        polling: Polling {
            min_interval: settings.polling.min_interval,
            max_interval: settings.polling.max_interval,
            factor: settings.polling.factor,
        },
        unknown_window: settings.submit.unknown_window,
        callbacks: settings.callbacks.public_url.clone().map(|url| CallbackAddresses::new(url, capabilities.clone())),
        in_hand: Some(settings.store.path.join("in-hand")),
        // The torture hastens a wait of minutes; an hour takes twice as much.
        quarantine: hastened(hastened(QUARANTINE)),
        clock: clock.clone(),
    };
    let retention = Retention { tasks: settings.retention.tasks, request_ids: settings.retention.request_ids };
    let remover = Remover::new(Arc::clone(&ledger), clock.clone(), retention);
    let webhooks = !receivers.secrets.is_empty();
    let outbox = Outbox::new(Arc::clone(&ledger), clock.clone(), receivers, post);
    Ok(Parts {
        door: Door::new(Arc::clone(&ledger), capabilities, readers),
        outbox,
        webhooks,
        accounts: Accounts::new(settings.accounts.iter().map(offer).collect()),
        ledger,
        store,
        catalog,
        guard,
        clock,
        supervisor,
        room,
        shelf,
        remover,
    })
}

fn images(settings: &Settings, guard: Guard, catalog: &Arc<Catalog>) -> Result<Images, StartError> {
    let check = match settings.submit.image_check {
        ImageCheck::Fetch => Check::Fetch,
        ImageCheck::Address => Check::Address,
    };
    Images::new(check, guard, Arc::clone(catalog)).map_err(|error| StartError(format!("submit.image_check: {error}")))
}

fn catalog(path: Option<&PathBuf>) -> Result<Catalog, StartError> {
    let Some(path) = path else { return Ok(Catalog::built_in()) };
    let wrong = |error: &dyn std::fmt::Display| StartError(format!("catalog.path: {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    Catalog::with(&text).map_err(|error| wrong(&error))
}

async fn archive(settings: &Settings, guard: Guard) -> Result<Arc<Archive>, StartError> {
    let own = archive_settings(settings);
    let opened = tokio::task::spawn_blocking(move || Archive::open(&own, guard)).await;
    let archive = match opened {
        Ok(Ok(archive)) => archive,
        Ok(Err(error)) => return Err(StartError(format!("archive.url: {error}"))),
        Err(panic) => return Err(StartError(format!("archive.url: {panic}"))),
    };
    // It may be away for a while, and all but new videos can be served without it.
    let reason = match tokio::time::timeout(PROBE, archive.probe()).await {
        Ok(Ok(())) => return Ok(Arc::new(archive)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PROBE.as_secs()),
    };
    error!(reason, "archive.url: the bucket cannot be used now; videos wait at their providers");
    Ok(Arc::new(archive))
}

/// What the settings say of the archive.
pub(crate) fn archive_settings(settings: &Settings) -> ArchiveSettings {
    let config::Archive { url, endpoint, allow_http, max_video, idle_timeout, fetch_timeout } =
        settings.archive.clone();
    ArchiveSettings {
        url,
        endpoint,
        allow_http,
        max_bytes: max_video,
        idle_timeout,
        total_timeout: fetch_timeout,
        ..ArchiveSettings::default()
    }
}

fn shelf(settings: &Settings, store: &Arc<dyn TaskStore>, clock: &Clock) -> Result<Option<Arc<Shelf>>, StartError> {
    let Some(folder) = &settings.backup.path else { return Ok(None) };
    let shelf = Shelf::open(
        Arc::clone(store),
        Files::of(&settings.store.path),
        folder,
        settings.backup.keep as usize,
        clock.clone(),
    );
    shelf.map(|shelf| Some(Arc::new(shelf))).map_err(|error| StartError(format!("backup.path: {error}")))
}

/// Where events go; none of the addresses and secrets is one that could not be used.
fn receivers(settings: &Settings, guard: &Guard) -> Result<Receivers, StartError> {
    let config::Webhooks { url, secret, previous_secret, events: _ } = &settings.webhooks;
    let callable = |key: &str, url: &Url| match guard.check_url(url.as_str()) {
        Ok(_) => Ok(url.clone()),
        Err(forbidden) => Err(StartError(format!("{key}: {forbidden}"))),
    };
    let named = settings.accounts.iter().filter_map(|account| Some((account, account.announce_url.as_ref()?)));
    let accounts = named.map(|(account, url)| {
        let key = format!("announce_url of account {:?}", account.name);
        Ok((AccountName::new(&account.name), callable(&key, url)?))
    });
    let usable = |key: &str, secret: &Secret| match is_signing_secret(secret.value.expose_secret()) {
        true => Ok(secret.value.clone()),
        false => Err(StartError(format!("{key}: expected whsec_ and base64 of 24 to 64 bytes"))),
    };
    let secrets = [("webhooks.secret", secret), ("webhooks.previous_secret", previous_secret)];
    let secrets = secrets.into_iter().filter_map(|(key, secret)| Some(usable(key, secret.as_ref()?)));
    Ok(Receivers {
        url: url.as_ref().map(|url| callable("webhooks.url", url)).transpose()?,
        accounts: accounts.collect::<Result<_, _>>()?,
        secrets: secrets.collect::<Result<_, _>>()?,
    })
}

fn announcing(settings: &Settings, receivers: &Receivers) -> Announcing {
    Announcing {
        topics: settings.webhooks.events.clone(),
        all: receivers.url.is_some(),
        accounts: receivers.accounts.keys().cloned().collect(),
    }
}

fn open_accounts(accounts: &[Account], clock: &Clock) -> Result<Vec<AccountParts>, StartError> {
    accounts.iter().map(|account| open_account(account, clock)).collect()
}

fn open_account(account: &Account, clock: &Clock) -> Result<AccountParts, StartError> {
    let clock = clock.clone();
    let provider = providers::open(&provider_settings(account), Arc::new(move || clock.now()));
    Ok(AccountParts {
        name: AccountName::new(&account.name),
        provider: provider.map_err(|error| StartError(format!("accounts: {error}")))?,
        max_parallel: usize::try_from(account.max_parallel).unwrap_or(usize::MAX),
        requests_per_second: account.requests_per_second,
    })
}

/// Who reads which account's callbacks.
fn open_readers(
    accounts: &[Account],
    guard: &Guard,
    clock: &Clock,
) -> Result<HashMap<AccountName, CallbackReader>, StartError> {
    let open = |account: &Account| {
        let clock = clock.clone();
        let now = Arc::new(move || clock.now());
        let reader = providers::callback_reader(&provider_settings(account), guard.clone(), now);
        let reader = reader.map_err(|error| StartError(format!("accounts: {error}")))?;
        Ok((AccountName::new(&account.name), reader))
    };
    accounts.iter().map(open).collect()
}

fn provider_settings(account: &Account) -> AccountSettings {
    let Account {
        name,
        provider,
        base_url,
        api_key,
        access_key,
        secret_key,
        webhook_secret,
        jwks_url,
        history_url,
        announce_url: _,
        max_parallel,
        requests_per_second,
    } = account;
    let value = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.value.clone());
    AccountSettings {
        name: name.clone(),
        provider: provider.as_str().to_owned(),
        base_url: base_url.clone(),
        api_key: value(api_key),
        access_key: value(access_key),
        secret_key: value(secret_key),
        max_parallel: Some(*max_parallel),
        requests_per_second: Some(*requests_per_second),
        webhook_secret: value(webhook_secret),
        jwks_url: jwks_url.clone(),
        history_url: history_url.clone(),
    }
}

fn offer(account: &Account) -> Offer {
    Offer {
        name: AccountName::new(&account.name),
        provider: account.provider.as_str().to_owned(),
        api_key: account.api_key.is_some(),
    }
}
