//! What proves the set of rows: a count and an additive hash per kind, changed in
//! the same batch as the rows. Rows that were lost, resurrected or exchanged show,
//! although each row by itself is in order.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{Context, SHA256};

use super::envelope::Kind;

/// Commit number, number of the last receipt, identity of the store.
const FIXED: usize = 24;

/// Kind, count, hash.
const SUM: usize = 25;

/// The rows of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Sum {
    /// How many there are.
    pub(super) count: u64,
    /// The sum of their hashes, modulo 2^128: the order does not matter, and a row
    /// is taken out as cheaply as it is put in.
    hash: u128,
}

/// All rows but the store's notes about itself, by the first byte of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Sums(BTreeMap<u8, Sum>);

impl Sums {
    /// Puts a row in.
    pub(super) fn add(&mut self, key: &[u8], row: &[u8]) {
        if let Some(kind) = counted(key) {
            let sum = self.0.entry(kind).or_default();
            sum.count = sum.count.wrapping_add(1);
            sum.hash = sum.hash.wrapping_add(hash(key, row));
        }
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, key: &[u8], row: &[u8]) {
        if let Some(kind) = counted(key) {
            let sum = self.0.entry(kind).or_default();
            sum.count = sum.count.wrapping_sub(1);
            sum.hash = sum.hash.wrapping_sub(hash(key, row));
        }
    }

    /// Forgets what is known of a kind.
    pub(super) fn clear(&mut self, kind: u8) {
        self.0.remove(&kind);
    }

    /// What is known of a kind.
    pub(super) fn of(&self, kind: u8) -> Sum {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// How what was found differs from these, unless damaged rows of that kind
    /// explain it: those are there, but no longer what they were.
    pub(super) fn difference(&self, found: &Self, damaged: &BTreeSet<u8>) -> Option<String> {
        let kinds: BTreeSet<u8> = self.0.keys().chain(found.0.keys()).copied().collect();
        kinds.into_iter().find_map(|kind| {
            let (noted, found) = (self.of(kind), found.of(kind));
            if noted.count != found.count {
                return Some(format!("{} rows of kind {kind} were noted and {} are there", noted.count, found.count));
            }
            (noted.hash != found.hash && !damaged.contains(&kind))
                .then(|| format!("the {} rows of kind {kind} are not the ones that were noted", noted.count))
        })
    }
}

/// The kind under which a row counts; none for the store's notes about itself.
fn counted(key: &[u8]) -> Option<u8> {
    key.first().copied().filter(|kind| *kind != Kind::Meta as u8)
}

/// The first half of SHA-256: no caller can choose rows whose hashes cancel out.
fn hash(key: &[u8], row: &[u8]) -> u128 {
    let mut context = Context::new(&SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(row);
    let mut half = [0; 16];
    half.copy_from_slice(&context.finish().as_ref()[..16]);
    u128::from_be_bytes(half)
}

/// What the store notes about itself in each batch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct SetNote {
    /// How many batches were written.
    pub(super) commit: u64,
    /// The last of them that carried a money fact, which has a receipt.
    pub(super) receipt: u64,
    /// Which store this is: receipts of another one do not speak of it.
    pub(super) store: u64,
    /// Its rows.
    pub(super) sums: Sums,
}

impl SetNote {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + SUM * self.sums.0.len());
        for number in [self.commit, self.receipt, self.store] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for (kind, sum) in &self.sums.0 {
            bytes.push(*kind);
            bytes.extend_from_slice(&sum.count.to_be_bytes());
            bytes.extend_from_slice(&sum.hash.to_be_bytes());
        }
        bytes
    }

    /// What [`Self::encode`] wrote; nothing when it cannot be that.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED)?;
        let (numbers, _) = fixed.as_chunks::<8>();
        let [commit, receipt, store] = *numbers else { return None };
        let (sums, rest) = rest.as_chunks::<SUM>();
        let sums = rest.is_empty().then(|| sums.iter().map(read_sum).collect())?;
        let number = u64::from_be_bytes;
        Some(Self { commit: number(commit), receipt: number(receipt), store: number(store), sums: Sums(sums) })
    }
}

fn read_sum([kind, rest @ ..]: &[u8; SUM]) -> (u8, Sum) {
    let (mut count, mut hash) = ([0; 8], [0; 16]);
    count.copy_from_slice(&rest[..8]);
    hash.copy_from_slice(&rest[8..]);
    (*kind, Sum { count: u64::from_be_bytes(count), hash: u128::from_be_bytes(hash) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_nothing_is_left_of_what_was_taken_out() {
        let (mut one, mut two) = (Sums::default(), Sums::default());
        for row in [b"a", b"b"] {
            one.add(b"\x03key", row);
        }
        for row in [b"b", b"c", b"a"] {
            two.add(b"\x03key", row);
        }
        assert!(one.difference(&two, &BTreeSet::new()).is_some());
        two.remove(b"\x03key", b"c");
        assert_eq!(one, two);
        one.add(b"\x01schema", b"its own notes do not count");
        assert_eq!(one, two);
    }

    #[test]
    fn lost_resurrected_and_exchanged_rows_show() {
        let sums = |rows: &[(&[u8], &[u8])]| {
            let mut sums = Sums::default();
            rows.iter().for_each(|(key, row)| sums.add(key, row));
            sums
        };
        let noted = sums(&[(b"\x03one", b"1"), (b"\x03two", b"2"), (b"\x02note", b"n")]);
        let none = BTreeSet::new();
        assert_eq!(noted.difference(&noted.clone(), &none), None);
        let lost = sums(&[(b"\x03one", b"1"), (b"\x02note", b"n")]);
        let more = sums(&[(b"\x03one", b"1"), (b"\x03two", b"2"), (b"\x02note", b"n"), (b"\x04part", b"p")]);
        let exchanged = sums(&[(b"\x03one", b"2"), (b"\x03two", b"1"), (b"\x02note", b"n")]);
        for found in [&lost, &more, &exchanged] {
            assert!(noted.difference(found, &none).is_some());
        }
        // A damaged row is still there; it explains another hash, never another count.
        let damaged = BTreeSet::from([3, 4]);
        assert_eq!(noted.difference(&exchanged, &damaged), None);
        assert!(noted.difference(&lost, &damaged).is_some());
        assert!(noted.difference(&more, &damaged).is_some());
    }

    #[test]
    fn the_note_survives_its_row_and_nothing_else_passes_for_one() {
        let mut note = SetNote { commit: 7, receipt: 5, store: u64::MAX, ..SetNote::default() };
        note.sums.add(b"\x03one", b"1");
        note.sums.add(b"\x05two", b"2");
        let bytes = note.encode();
        assert_eq!(SetNote::decode(&bytes), Some(note));
        for length in (0..bytes.len()).filter(|length| *length != FIXED && *length != FIXED + SUM) {
            assert_eq!(SetNote::decode(&bytes[..length]), None, "{length}");
        }
    }
}
