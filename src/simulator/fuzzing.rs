//! Directives: a prompt may ask for anything; it is granted a bounded number of things.

use super::directive::Directives;
use crate::fuzzing::{seed, text};

pub(crate) fn check(data: &[u8]) {
    let found = Directives::read(&text(data));
    assert!(found.wishes.len() <= 16);
    for wish in &found.wishes {
        assert!(wish.limit() >= wish.times.unwrap_or(1));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let prompt = "a kite [sim:latency=2s] [sim:fail] [sim:poll.error*3] [sim:refuse=1301] [sim:accept_drop] [sim:x]";
    vec![seed(b' ', prompt)]
}
