//! Looking a lost submit up in fal's history of requests. fal takes no id of ours,
//! so that only an input that nobody else sends proves a request to be ours: the
//! seed makes it one, where the model takes a seed and the caller gave none.
//!
//! The history lists what has ended, and tells the inputs only where payloads are
//! kept. A job that runs is found later; one whose input is not told is never found.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use url::Url;

use super::{Fal, order};
use crate::catalog::Wire;
use crate::providers::contract::{Found, Order, Trouble};
use crate::providers::http::{Call, is_usable_id, join};
use crate::providers::{input, trouble};
use crate::task::id::Marker;
use crate::wire::fal_history::{Item, Page, timestamp, unix_s};

/// How far fal's clock and ours may be apart, and how long a create may be under
/// way after its intent was stored.
const EARLIER: Duration = Duration::from_secs(2 * 60);
const LATER: Duration = Duration::from_secs(10 * 60);

/// How many requests a page holds, and how many pages are read.
const PAGE: &str = "100";
const PAGES: usize = 20;

/// The seed of an order that leaves it to us, for a model that takes one: a number
/// of 31 bits from 1 on, which every model takes.
///
/// It follows from the marker alone, so that a look-up after a restart derives the
/// same. Two tasks with the same input in every other respect draw the same seed
/// with a chance of one in 2^31: only for such a pair, both sent within the minutes
/// of one search, could the one's job be taken for the other's.
pub(super) fn own_seed(order: &Order<'_>) -> Option<u32> {
    let left_to_us = order.spec.seed.is_none() && !order.spec.provider_options.contains_key("seed");
    (left_to_us && order.model.limits.seed).then(|| seed_of(order.marker))
}

fn seed_of(marker: &Marker) -> u32 {
    const LARGEST: u64 = (1 << 31) - 1;
    let digest = digest(&SHA256, format!("seed of {marker}").as_bytes());
    let drawn = digest.as_ref()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    u32::try_from(drawn % LARGEST + 1).expect("it is within 31 bits")
}

impl Fal {
    /// The request of this order, once it has ended.
    pub(super) async fn find_in_history(&self, order: &Order<'_>) -> Result<Found, Trouble> {
        let (Some(history), Wire::FalQueue(names)) = (&self.history_url, &order.model.wire) else {
            return Ok(Found::Nothing);
        };
        // What anybody may have sent proves nothing, however well it fits.
        let Some(seed) = own_seed(order) else { return Ok(Found::Nothing) };
        let wanted = Wanted {
            endpoint: &order.model.wire_id,
            input: input::whole_numbers(&Value::Object(order::input(order.spec, names, Some(seed)))),
            sent: order.sent,
        };
        let ids = self.matching(history, &wanted).await?;
        match ids.as_slice() {
            [] => Ok(Found::Nothing),
            [id] if is_usable_id(id) => {
                let job = Self::job(order.model, id);
                job.map(Found::Job).ok_or_else(|| trouble("the request that was found cannot be followed"))
            }
            [_] => Err(trouble("the request that was found has no usable id")),
            // One create of ours cannot be two requests: somebody has sent our input again,
            // or fal has, and nothing tells which of them is the one.
            several => Err(trouble(&format!("the history lists {} requests with this input", several.len()))),
        }
    }

    /// The ids of the requests that are as wanted.
    async fn matching(&self, history: &Url, wanted: &Wanted<'_>) -> Result<Vec<String>, Trouble> {
        let mut ids: Vec<String> = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES {
            let page = self.history_page(history, wanted, &cursor).await?;
            for item in page.items.iter().filter(|item| wanted.is(item)) {
                if !ids.contains(&item.request_id) {
                    ids.push(item.request_id.clone());
                }
            }
            if !page.has_more || page.next_cursor.is_empty() {
                return Ok(ids);
            }
            cursor = page.next_cursor;
        }
        if ids.is_empty() { Err(trouble("the history is longer than is read at once")) } else { Ok(ids) }
    }

    async fn history_page(&self, history: &Url, wanted: &Wanted<'_>, cursor: &str) -> Result<Page, Trouble> {
        let mut url = join(history, "/models/requests/by-endpoint");
        let earliest = unix(wanted.sent).saturating_sub(EARLIER.as_secs());
        url.query_pairs_mut()
            .append_pair("endpoint_id", wanted.endpoint)
            .append_pair("start", &timestamp(earliest))
            .append_pair("expand", "payloads")
            .append_pair("limit", PAGE);
        if !cursor.is_empty() {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.key.clone())]);
        let answer = self.http.listing(Call { method: Method::GET, url, headers, body: None }).await?;
        match Page::read(&answer.body) {
            Some(page) if answer.is_success() => Ok(page),
            // A key may buy and not be let into the platform API: that is no word about the
            // account.
            _ => Err(Trouble { denied: false, ..answer.trouble(&self.redactor) }),
        }
    }
}

/// What a request must be to be ours.
struct Wanted<'a> {
    endpoint: &'a str,
    /// Exactly as it was sent, save that 5.0 and 5 are one number.
    input: Value,
    sent: SystemTime,
}

impl Wanted<'_> {
    fn is(&self, item: &Item) -> bool {
        let earliest = unix(self.sent).saturating_sub(EARLIER.as_secs());
        let latest = unix(self.sent).saturating_add(LATER.as_secs());
        // A time that cannot be read speaks neither for a request nor against it.
        let in_time = unix_s(&item.sent_at).is_none_or(|at| (earliest..=latest).contains(&at));
        item.endpoint_id == self.endpoint && in_time && input::whole_numbers(&item.json_input) == self.input
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
