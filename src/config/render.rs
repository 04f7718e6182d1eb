//! Shows the settings in force, for `videogen config`. A secret shows where it
//! came from, or a mask; never itself.

use std::fmt::Display;
use std::path::Path;

use toml::Value;
use url::Url;

use super::accounts::Account;
use super::bytes::format_bytes;
use super::duration::format_duration;
use super::secret::{Origin, Secret};
use super::{Archive, Callbacks, Catalog, Network, Polling, Server, Settings, Webhooks};

const MASK: &str = "********";

/// Writes TOML that says the same as the settings, secrets apart.
pub(super) fn render(settings: &Settings) -> String {
    let Settings {
        server,
        callbacks,
        webhooks,
        store,
        archive,
        polling,
        submit,
        backup,
        retention,
        network,
        catalog,
        accounts,
    } = settings;
    let Webhooks { url: webhook_url, secret, previous_secret, events } = webhooks;
    let Server { grpc_listen, callback_listen, admin_listen, shutdown_grace } = server;
    let Callbacks { public_url } = callbacks;
    let Archive { url, endpoint, allow_http, max_video, idle_timeout, fetch_timeout } = archive;
    let Polling { min_interval, max_interval, factor } = polling;
    let Network { allow } = network;
    let Catalog { path: catalog_path } = catalog;

    let mut page = Page::default();
    page.table("[server]");
    page.text("grpc_listen", grpc_listen);
    page.text("callback_listen", callback_listen);
    page.text("admin_listen", admin_listen);
    page.text("shutdown_grace", format_duration(*shutdown_grace));
    page.table("[callbacks]");
    page.text_or_unset("public_url", public_url.as_ref());
    page.table("[webhooks]");
    page.text_or_unset("url", webhook_url.as_ref().map(masked));
    page.secret("secret", secret);
    page.secret("previous_secret", previous_secret);
    page.value("events", Value::Array(events.iter().map(|topic| Value::String(topic.word().to_owned())).collect()));
    page.table("[store]");
    page.text("path", store.path.display());
    page.table("[archive]");
    page.text("url", url);
    page.text_or_unset("endpoint", endpoint.as_ref());
    page.value("allow_http", Value::Boolean(*allow_http));
    page.text("max_video", format_bytes(*max_video));
    page.text("idle_timeout", format_duration(*idle_timeout));
    page.text("fetch_timeout", format_duration(*fetch_timeout));
    page.table("[polling]");
    page.text("min_interval", format_duration(*min_interval));
    page.text("max_interval", format_duration(*max_interval));
    page.value("factor", Value::Float(*factor));
    page.table("[submit]");
    page.text("unknown_window", format_duration(submit.unknown_window));
    page.text_or_unset("disk_reserve", submit.disk_reserve.map(format_bytes));
    page.value("max_open_tasks", Value::Integer(submit.max_open_tasks.into()));
    page.text("image_check", submit.image_check.as_str());
    page.text("image_patience", format_duration(submit.image_patience));
    page.table("[backup]");
    page.text_or_unset("path", backup.path.as_deref().map(Path::display));
    page.text_or_unset("every", backup.every.map(format_duration));
    page.value("keep", Value::Integer(backup.keep.into()));
    page.table("[retention]");
    page.text_or_unset("tasks", retention.tasks.map(format_duration));
    page.text("request_ids", format_duration(retention.request_ids));
    page.table("[network]");
    page.value("allow", Value::Array(allow.iter().cloned().map(Value::String).collect()));
    page.table("[catalog]");
    page.text_or_unset("path", catalog_path.as_deref().map(Path::display));
    accounts.iter().for_each(|account| page.account(account));
    page.text
}

/// A receiver's address: path and query may hold a token.
fn masked(url: &Url) -> String {
    let bare = url.path() == "/" && url.query().is_none();
    if bare { url.to_string() } else { format!("{}/{MASK}", url.origin().ascii_serialization()) }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn table(&mut self, heading: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.text.push_str(&format!("{gap}{heading}\n"));
    }

    fn value(&mut self, key: &str, value: Value) {
        self.text.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, text: impl Display) {
        self.value(key, Value::String(text.to_string()));
    }

    fn text_or_unset(&mut self, key: &str, text: Option<impl Display>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.text.push_str(&format!("# {key} is not set\n")),
        }
    }

    fn secret(&mut self, key: &str, secret: &Option<Secret>) {
        let Some(secret) = secret else { return };
        let quoted = |text: String| Value::String(text);
        match &secret.origin {
            Origin::Value => self.text(key, MASK),
            Origin::Env(name) => self.text.push_str(&format!("{key} = {{ env = {} }}\n", quoted(name.clone()))),
            Origin::File(path) => {
                let path = quoted(path.display().to_string());
                self.text.push_str(&format!("{key} = {{ file = {path} }}\n"));
            }
        }
    }

    fn account(&mut self, account: &Account) {
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
            announce_url,
            max_parallel,
            requests_per_second,
        } = account;
        self.table("[[accounts]]");
        self.text("name", name);
        self.text("provider", provider.as_str());
        self.text_or_unset("base_url", base_url.as_ref());
        self.secret("api_key", api_key);
        self.secret("access_key", access_key);
        self.secret("secret_key", secret_key);
        self.secret("webhook_secret", webhook_secret);
        self.text_or_unset("jwks_url", jwks_url.as_ref());
        self.text_or_unset("history_url", history_url.as_ref());
        self.text_or_unset("announce_url", announce_url.as_ref().map(masked));
        self.value("max_parallel", Value::Integer((*max_parallel).into()));
        self.value("requests_per_second", Value::Float(*requests_per_second));
    }
}
