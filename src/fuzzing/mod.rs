//! What must hold of bytes from outside, whatever they are. Each target takes bytes
//! in through one door and asserts more than that nothing panics. The fuzzer in
//! `fuzz/` looks for counterexamples; the unit tests try the seeds and mutations of
//! them. Not part of the service: behind the feature `fuzzing`.

mod callbacks;
mod links;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::{api, config, providers, simulator, store};

/// One door, and how it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Panics where something does not hold of these bytes.
    pub check: fn(&[u8]),
    /// Bytes that get far, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every door.
pub const TARGETS: [Target; 9] = [
    Target { name: "requests", check: api::fuzzing::check, seeds: api::fuzzing::seeds },
    Target { name: "rows", check: store::fuzzing::check, seeds: store::fuzzing::seeds },
    Target { name: "receipts", check: store::fuzzing::receipts::check, seeds: store::fuzzing::receipts::seeds },
    Target { name: "kling", check: providers::kling::fuzzing::check, seeds: providers::kling::fuzzing::seeds },
    Target { name: "fal", check: providers::fal::fuzzing::check, seeds: providers::fal::fuzzing::seeds },
    Target { name: "callbacks", check: callbacks::check, seeds: callbacks::seeds },
    Target { name: "links", check: links::check, seeds: links::seeds },
    Target { name: "settings", check: config::fuzzing::check, seeds: config::fuzzing::seeds },
    Target { name: "directives", check: simulator::fuzzing::check, seeds: simulator::fuzzing::seeds },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The fields that zero bytes part; the last one takes the rest.
pub(crate) fn fields<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Bytes as text, as far as they are.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A seed: the byte that picks a case, then the bytes for it.
pub(crate) fn seed(case: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[case], bytes.as_ref()].concat()
}
