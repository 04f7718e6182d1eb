//! Page tokens: where the last page ended, bound to the filter it was asked with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use ring::digest::{SHA256, digest};
use tonic::Status;

use super::{pb, status};
use crate::task::id::TaskId;

const DEFAULT_SIZE: usize = 50;
const LARGEST: usize = 500;

/// How many tasks a page holds (AIP-158).
pub fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(LARGEST)),
        Err(_) => Err(status::field("page_size", "must not be negative")),
    }
}

/// What a token is bound to.
pub fn binding(filter: Option<&pb::TaskFilter>) -> [u8; 8] {
    let filter = filter.map(Message::encode_to_vec).unwrap_or_default();
    let mut bound = [0; 8];
    bound.copy_from_slice(&digest(&SHA256, &filter).as_ref()[..8]);
    bound
}

/// Names the place after this task.
pub fn token(last: TaskId, bound: &[u8; 8]) -> String {
    URL_SAFE_NO_PAD.encode([&last.to_bytes()[..], bound].concat())
}

/// Reads a token; nothing for the first page.
pub fn read(token: &str, bound: &[u8; 8]) -> Result<Option<TaskId>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| status::page_token())?;
    match bytes.split_first_chunk::<16>() {
        Some((id, rest)) if rest == bound => Ok(Some(TaskId::from_bytes(*id))),
        _ => Err(status::page_token()),
    }
}
