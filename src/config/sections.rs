//! Reads each table of the settings file into its part, with its defaults and bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::section::{Environment, Section};
use super::{
    Archive, Backup, Callbacks, Catalog, ConfigError, ImageCheck, Network, Polling, Retention, Server, Store, Submit,
    Webhooks,
};
use crate::task::announcement::Topic;

/// A bucket takes 10,000 parts of a file, and ours have 5 MiB.
const MAX_VIDEO_BYTES: u64 = 40 << 30;

type Variables = BTreeMap<String, String>;

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(super) fn server(mut section: Section, variables: &Variables) -> Result<Server, ConfigError> {
    let server = Server {
        grpc_listen: section.address("grpc_listen")?.unwrap_or(loopback(50051)),
        callback_listen: section.address("callback_listen")?.unwrap_or(loopback(8080)),
        admin_listen: section.address("admin_listen")?.unwrap_or(loopback(9464)),
        shutdown_grace: section.duration("shutdown_grace")?.unwrap_or(Duration::from_secs(30)),
    };
    let taken = |a: SocketAddr, b: SocketAddr| a.port() != 0 && a == b;
    if taken(server.callback_listen, server.grpc_listen) {
        return Err(section.wrong("callback_listen", "is the same address as server.grpc_listen"));
    }
    if taken(server.admin_listen, server.grpc_listen) || taken(server.admin_listen, server.callback_listen) {
        return Err(section.wrong("admin_listen", "is the same address as another door's"));
    }
    if server.shutdown_grace > Duration::from_secs(3600) {
        return Err(section.wrong("shutdown_grace", "must be at most 1h"));
    }
    section.finish(variables)?;
    Ok(server)
}

pub(super) fn callbacks(mut section: Section, variables: &Variables) -> Result<Callbacks, ConfigError> {
    let public_url = section.url("public_url")?;
    section.finish(variables)?;
    Ok(Callbacks { public_url })
}

pub(super) fn webhooks(
    mut section: Section,
    environment: &Environment,
    variables: &Variables,
) -> Result<Webhooks, ConfigError> {
    let webhooks = Webhooks {
        url: section.url("url")?,
        secret: section.secret("secret", environment)?,
        previous_secret: section.secret("previous_secret", environment)?,
        events: read_events(&mut section)?,
    };
    if webhooks.url.is_some() && webhooks.secret.is_none() {
        return Err(section.wrong("secret", "is required beside webhooks.url: unsigned events are not sent"));
    }
    if webhooks.previous_secret.is_some() && webhooks.secret.is_none() {
        return Err(section.wrong("secret", "is required beside webhooks.previous_secret"));
    }
    section.finish(variables)?;
    Ok(webhooks)
}

fn read_events(section: &mut Section) -> Result<BTreeSet<Topic>, ConfigError> {
    let named = section.list("events")?;
    if named.is_empty() {
        return Ok(Topic::ENDS.into());
    }
    let topic = |name: &String| Topic::ALL.into_iter().find(|topic| topic.word() == name);
    let known: Option<BTreeSet<Topic>> = named.iter().map(topic).collect();
    known.ok_or_else(|| {
        let message = "expected task.succeeded, task.failed, task.cancelled, task.recovered and task.updated";
        section.wrong("events", message)
    })
}

pub(super) fn store(mut section: Section, variables: &Variables) -> Result<Store, ConfigError> {
    let path = section.text("path")?.unwrap_or_else(|| "./videogen-data/store".into()).into();
    section.finish(variables)?;
    Ok(Store { path })
}

pub(super) fn archive(mut section: Section, variables: &Variables) -> Result<Archive, ConfigError> {
    let url = section.text("url")?.unwrap_or_else(|| "file:./videogen-data/videos".into());
    let known = ["file:", "s3://", "gs://", "az://"];
    if !known.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.trim_matches('/').is_empty())) {
        return Err(section.wrong("url", "expected file:FOLDER, s3://BUCKET, gs://BUCKET or az://CONTAINER"));
    }
    let endpoint = section.url("endpoint")?;
    if endpoint.is_some() && url.starts_with("file:") {
        return Err(section.wrong("endpoint", "goes with a bucket, not with a folder"));
    }
    let allow_http = section.flag("allow_http")?.unwrap_or(false);
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http") && !allow_http {
        return Err(section.wrong("endpoint", "begins with http://, which takes archive.allow_http = true"));
    }
    let max_video = section.bytes("max_video")?.unwrap_or(2 << 30);
    if !(1..=MAX_VIDEO_BYTES).contains(&max_video) {
        return Err(
            section.wrong("max_video", "must be above 0 and at most 40GiB, which is as many parts as a bucket takes")
        );
    }
    let limit = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let idle_timeout = section.duration("idle_timeout")?.unwrap_or(Duration::from_secs(30));
    let fetch_timeout = section.duration("fetch_timeout")?.unwrap_or(Duration::from_secs(30 * 60));
    for (key, value) in [("idle_timeout", idle_timeout), ("fetch_timeout", fetch_timeout)] {
        if !limit.contains(&value) {
            return Err(section.wrong(key, "must be from 100ms to 24h"));
        }
    }
    section.finish(variables)?;
    Ok(Archive { url, endpoint, allow_http, max_video, idle_timeout, fetch_timeout })
}

pub(super) fn polling(mut section: Section, variables: &Variables) -> Result<Polling, ConfigError> {
    let polling = Polling {
        min_interval: section.duration("min_interval")?.unwrap_or(Duration::from_secs(2)),
        max_interval: section.duration("max_interval")?.unwrap_or(Duration::from_secs(30)),
        factor: section.number("factor")?.unwrap_or(1.5),
    };
    if polling.min_interval.is_zero() {
        return Err(section.wrong("min_interval", "must be above 0"));
    }
    if polling.min_interval > polling.max_interval {
        return Err(section.wrong("min_interval", "must be at most polling.max_interval"));
    }
    if polling.max_interval > Duration::from_secs(3600) {
        return Err(section.wrong("max_interval", "must be at most 1h"));
    }
    if !(1.1..=10.0).contains(&polling.factor) {
        return Err(section.wrong("factor", "expected a number from 1.1 to 10"));
    }
    section.finish(variables)?;
    Ok(polling)
}

pub(super) fn submit(mut section: Section, variables: &Variables) -> Result<Submit, ConfigError> {
    let unknown_window = section.duration("unknown_window")?.unwrap_or(Duration::from_secs(3600));
    if unknown_window.is_zero() || unknown_window > Duration::from_secs(7 * 86_400) {
        return Err(section.wrong("unknown_window", "must be above 0 and at most 7d"));
    }
    let disk_reserve = section.bytes("disk_reserve")?;
    let max_open_tasks = section.count("max_open_tasks")?.unwrap_or(1_000_000);
    let image_check = match section.text("image_check")?.as_deref() {
        None | Some("fetch") => ImageCheck::Fetch,
        Some("address") => ImageCheck::Address,
        Some(_) => return Err(section.wrong("image_check", "expected \"fetch\" or \"address\"")),
    };
    let image_patience = section.duration("image_patience")?.unwrap_or(Duration::from_secs(3600));
    if image_patience > Duration::from_secs(24 * 3600) {
        return Err(section.wrong("image_patience", "must be at most 24h"));
    }
    section.finish(variables)?;
    Ok(Submit { unknown_window, disk_reserve, max_open_tasks, image_check, image_patience })
}

pub(super) fn backup(mut section: Section, variables: &Variables) -> Result<Backup, ConfigError> {
    let path = section.text("path")?.map(PathBuf::from);
    let every = section.duration("every")?;
    let keep = section.count("keep")?.unwrap_or(7);
    if every.is_some() && path.is_none() {
        return Err(section.wrong("every", "needs backup.path, the folder for the backups"));
    }
    if every.is_some_and(|every| !(Duration::from_secs(1)..=Duration::from_secs(366 * 86_400)).contains(&every)) {
        return Err(section.wrong("every", "must be from 1s to 366d"));
    }
    section.finish(variables)?;
    Ok(Backup { path, every, keep })
}

pub(super) fn retention(mut section: Section, variables: &Variables) -> Result<Retention, ConfigError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let tasks = section.duration("tasks")?;
    let request_ids = section.duration("request_ids")?.unwrap_or(400 * DAY);
    if tasks.is_some_and(|tasks| tasks < Duration::from_secs(1)) {
        return Err(section.wrong("tasks", "must be at least 1s"));
    }
    if request_ids < DAY {
        return Err(section.wrong("request_ids", "must be at least 1d: a repeat after that buys a second video"));
    }
    section.finish(variables)?;
    Ok(Retention { tasks, request_ids })
}

pub(super) fn network(mut section: Section, variables: &Variables) -> Result<Network, ConfigError> {
    let allow = section.list("allow")?;
    if !allow.iter().all(|range| is_address_range(range)) {
        return Err(section.wrong("allow", "expected address ranges such as 127.0.0.0/8, 10.1.2.3 or fd00::/8"));
    }
    section.finish(variables)?;
    Ok(Network { allow })
}

pub(super) fn catalog(mut section: Section, variables: &Variables) -> Result<Catalog, ConfigError> {
    let path = section.text("path")?.map(PathBuf::from);
    section.finish(variables)?;
    Ok(Catalog { path })
}

fn is_address_range(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}
