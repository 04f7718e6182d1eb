//! Text of others, of which only so much is kept.

/// The text, cut to so many bytes at a character's edge.
pub fn shortened(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}
