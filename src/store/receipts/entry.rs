//! One entry of the log: a mark, a length, a checksum, the commit that it is of and
//! its place among the entries of that commit. Whatever lies between two entries
//! is passed over and counted.

use std::collections::{BTreeMap, BTreeSet};

/// Mark 8, length 4, checksum 4, commit 8, place 4, entries of the commit 4.
pub(super) const HEADER: usize = 32;

/// Where the checksum begins to count.
const CHECKED: usize = 16;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The commit that it is of.
    pub(super) commit: u64,
    /// Its place among the entries of that commit, from 0.
    pub(super) place: u32,
    /// How many there are.
    pub(super) count: u32,
    /// What it holds.
    pub(super) payload: &'a [u8],
}

/// Appends an entry. The mark is the store's own number, which nobody outside
/// knows: no content can pass for an entry.
pub(super) fn encode(store: u64, entry: Entry<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    let length = u32::try_from(entry.payload.len()).unwrap_or(u32::MAX);
    into.extend_from_slice(&store.to_be_bytes());
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&entry.commit.to_be_bytes());
    into.extend_from_slice(&entry.place.to_be_bytes());
    into.extend_from_slice(&entry.count.to_be_bytes());
    into.extend_from_slice(entry.payload);
    let crc = checksum(length, &into[start + CHECKED..]);
    into[start + 12..start + CHECKED].copy_from_slice(&crc.to_be_bytes());
}

fn checksum(length: u32, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_be_bytes()), rest)
}

/// What a log holds.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    /// The entries that are in order, in their order.
    pub(super) entries: Vec<Entry<'a>>,
    /// How many places are none.
    pub(super) damaged: usize,
    /// Where the last entry ends.
    pub(super) end: usize,
}

/// Reads a log; never fails, whatever the bytes.
pub(super) fn scan(store: u64, bytes: &[u8]) -> Scan<'_> {
    let mark = store.to_be_bytes();
    let mut found = Scan::default();
    let mut position = 0;
    while position < bytes.len() {
        if let Some((entry, size)) = read(&mark, &bytes[position..]) {
            found.entries.push(entry);
            position += size;
            found.end = position;
            continue;
        }
        // Damage that begins where an entry ended is a new place.
        found.damaged += usize::from(position == found.end);
        let rest = &bytes[position + 1..];
        let next = rest.windows(mark.len()).position(|window| window == mark);
        position = next.map_or(bytes.len(), |next| position + 1 + next);
    }
    found
}

fn read<'a>(mark: &[u8; 8], bytes: &'a [u8]) -> Option<(Entry<'a>, usize)> {
    let (header, _) = bytes.split_at_checked(HEADER)?;
    if header[..8] != *mark {
        return None;
    }
    let number = |from: usize| u32::from_be_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]]);
    let (length, crc) = (number(8), number(12));
    let size = HEADER.checked_add(length as usize)?;
    let whole = bytes.get(..size)?;
    if checksum(length, &whole[CHECKED..]) != crc {
        return None;
    }
    let commit = u64::from(number(16)) << 32 | u64::from(number(20));
    Some((Entry { commit, place: number(24), count: number(28), payload: &whole[HEADER..] }, size))
}

impl Scan<'_> {
    /// The newest commit all of whose entries are there.
    pub(super) fn last(&self) -> Option<u64> {
        let mut places: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        let whole = self.entries.iter().filter(|entry| {
            let places = places.entry(entry.commit).or_default();
            places.insert(entry.place);
            places.len() as u64 == u64::from(entry.count)
        });
        whole.map(|entry| entry.commit).max()
    }
}
