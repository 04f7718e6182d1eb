//! The envelope of a row: a format version, the kind, and a checksum that binds
//! the payload to its key. What does not fit the checksum is never looked at.

/// No larger value reaches the backend: larger ones would leave its log.
pub(super) const ROW_LIMIT: usize = 4096;

/// Version, kind, checksum.
const HEADER: usize = 6;

/// The largest payload.
pub(super) const PAYLOAD_LIMIT: usize = ROW_LIMIT - HEADER;

/// How this version of the code writes rows.
const VERSION: u8 = 1;

/// What a row holds: the first byte of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// What the store knows about itself.
    Meta = 1,
    /// A small note.
    Note = 2,
    /// The first row of a task.
    Head = 3,
    /// What the head has no room for of a task's state.
    StatePart = 4,
    /// A submission too large for the head.
    SubmissionPart = 5,
    /// What is left of a removed task.
    Tombstone = 6,
    /// What is still to be told to a webhook.
    Announcement = 7,
}

/// Why a row is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRow {
    /// Shorter than its envelope.
    #[error("the row is cut short")]
    Short,
    /// The checksum is another.
    #[error("the checksum does not fit")]
    Checksum,
    /// Written by another version.
    #[error("row format {0} is not known")]
    Version(u8),
}

/// The payload is larger than a row may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowTooLarge;

/// Puts a payload into its envelope. The first byte of the key is the kind.
pub(super) fn seal(key: &[u8], payload: &[u8]) -> Result<Vec<u8>, RowTooLarge> {
    if payload.len() > PAYLOAD_LIMIT {
        return Err(RowTooLarge);
    }
    let kind = key.first().copied().unwrap_or_default();
    let mut row = Vec::with_capacity(HEADER + payload.len());
    row.extend_from_slice(&[VERSION, kind]);
    row.extend_from_slice(&checksum(VERSION, kind, key, payload).to_be_bytes());
    row.extend_from_slice(payload);
    Ok(row)
}

/// Takes the payload out, if it is the one that was put in under this key.
pub(super) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], BadRow> {
    let [version, kind, a, b, c, d, payload @ ..] = row else {
        return Err(BadRow::Short);
    };
    if u32::from_be_bytes([*a, *b, *c, *d]) != checksum(*version, *kind, key, payload) {
        return Err(BadRow::Checksum);
    }
    // After the checksum: an honest row of a later version is told from damage.
    if *version != VERSION {
        return Err(BadRow::Version(*version));
    }
    Ok(payload)
}

/// The payload of a row whose checksum may be wrong: only to guess what was lost.
pub(super) fn peek(row: &[u8]) -> &[u8] {
    row.get(HEADER..).unwrap_or_default()
}

fn checksum(version: u8, kind: u8, key: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[version, kind]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_its_key() {
        let row = seal(b"\x03one", b"payload").unwrap();
        assert_eq!(unseal(b"\x03one", &row), Ok(b"payload".as_slice()));
        assert_eq!(unseal(b"\x03two", &row), Err(BadRow::Checksum));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let row = seal(b"\x03key", &[7; 300]).unwrap();
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"\x03key", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(unseal(b"\x03key", &row[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn nothing_larger_than_a_row_is_sealed() {
        assert_eq!(seal(b"\x03", &[0; PAYLOAD_LIMIT]).map(|row| row.len()), Ok(ROW_LIMIT));
        assert_eq!(seal(b"\x03", &[0; PAYLOAD_LIMIT + 1]), Err(RowTooLarge));
    }
}
