//! Amounts of bytes as people write them: `512MiB`, `2GiB`. A bare number is
//! refused, and so are MB and GB, which people read in two ways.

const UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads an amount of bytes with its unit.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "expected an amount of bytes such as 512MiB or 2GiB".to_owned();
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, unit_bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_bytes)).ok_or_else(wrong)
}

/// Writes an amount of bytes so that [`parse_bytes`] reads it back.
pub fn format_bytes(bytes: u64) -> String {
    let fits = |unit: &u64| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().rev().find(|(_, unit)| fits(unit)).unwrap_or(&UNITS[0]);
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_unit() {
        for (text, bytes) in [("0B", 0), ("512MiB", 512 << 20), ("2 GiB", 2 << 30), ("3KiB", 3072), ("1TiB", 1 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "5", "GiB", "1.5GiB", "-1B", "1GB", "1gib", "99999999999TiB", "99999999999999999999B"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 1023, 1 << 10, 1536 << 10, 5 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
        assert_eq!(format_bytes(1536 << 20), "1536MiB");
    }
}
