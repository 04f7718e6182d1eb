//! The client of everything that calls where others lead us: it does nothing on its
//! own, and connects to no address that the guard has not judged.

use std::error::Error;
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use super::guard::Guard;
use super::resolver::GuardedResolver;

/// No proxy, no redirect, no referer, no retry, no decoding, no connection kept. The
/// limits of time are the caller's, and so is [`Guard::check_url`] before each call.
pub fn client_builder(guard: &Guard) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_only()
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(GuardedResolver::new(guard.clone())))
        .user_agent(concat!("videogen/", env!("CARGO_PKG_VERSION")))
}

/// The error with its causes and without its URL, which may carry credentials.
pub fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
