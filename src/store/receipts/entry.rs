//! One entry of the log: a mark, a length, a checksum, the commit that it is of and
//! its place among the entries of that commit. Each stands twice, one right after
//! the other: where both are damaged, the one tells what the other has lost.
//! Whatever lies between entries is passed over and counted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Mark 8, length 4, checksum 4, commit 8, place 4, entries of the commit 4.
pub(super) const HEADER: usize = 32;

/// Where the checksum begins to count.
const CHECKED: usize = 16;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The commit that it is of.
    pub(super) commit: u64,
    /// Its place among the entries of that commit, from 0.
    pub(super) place: u32,
    /// How many there are.
    pub(super) count: u32,
    /// What it holds.
    pub(super) payload: Cow<'a, [u8]>,
}

/// Bytes in which two copies may differ and still be put together.
const HEALABLE: usize = 10;

/// Appends an entry, twice. The mark is the store's own number, which nobody outside
/// knows: no content can pass for an entry.
pub(super) fn encode(store: u64, entry: &Entry<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    let length = u32::try_from(entry.payload.len()).unwrap_or(u32::MAX);
    into.extend_from_slice(&store.to_be_bytes());
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&entry.commit.to_be_bytes());
    into.extend_from_slice(&entry.place.to_be_bytes());
    into.extend_from_slice(&entry.count.to_be_bytes());
    into.extend_from_slice(&entry.payload);
    let crc = checksum(length, &into[start + CHECKED..]);
    into[start + 12..start + CHECKED].copy_from_slice(&crc.to_be_bytes());
    into.extend_from_within(start..);
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
        let rest = &bytes[position..];
        let next = rest.windows(mark.len()).skip(1).position(|window| window == mark).map(|next| next + 1);
        if let Some((entry, size)) = heal(&mark, rest, next) {
            found.entries.push(entry);
            // No further: what follows may be the other damaged copy, or a neighbour.
            position += size;
            found.end = position;
            continue;
        }
        position = next.map_or(bytes.len(), |next| position + next);
    }
    found
}

/// Puts an entry together of two damaged copies. Their size is told by the first
/// one's header, or by the mark of the second.
fn heal(mark: &[u8; 8], bytes: &[u8], next: Option<usize>) -> Option<(Entry<'static>, usize)> {
    let length = bytes.get(8..12).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    let told = length.and_then(|length| HEADER.checked_add(length as usize));
    [told, next].into_iter().flatten().find_map(|size| {
        // A neighbour that resembles the damaged copy is no second copy of it.
        if read(mark, bytes.get(size..)?).is_some() {
            return None;
        }
        let (one, two) = (bytes.get(..size)?, bytes.get(size..size.checked_mul(2)?)?);
        let differing: Vec<usize> = (0..size).filter(|at| one[*at] != two[*at]).take(HEALABLE + 1).collect();
        if differing.len() > HEALABLE {
            return None;
        }
        (0..1u32 << differing.len()).find_map(|choice| {
            let mut whole = one.to_vec();
            for (_, at) in differing.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 == 1) {
                whole[*at] = two[*at];
            }
            let (entry, read) = read(mark, &whole)?;
            let entry = Entry { payload: Cow::Owned(entry.payload.into_owned()), ..entry };
            (read == size).then_some((entry, size))
        })
    })
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
    Some((Entry { commit, place: number(24), count: number(28), payload: Cow::Borrowed(&whole[HEADER..]) }, size))
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
