//! What a model's images must be like, and the judgement of one.

use serde::Deserialize;

use super::findings::either;
use crate::task::picture::{ImageFormat, Picture};

/// The limits of one image. What a provider does not state is left to it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageLimits {
    /// The encodings that are taken.
    pub formats: Vec<ImageFormat>,
    /// The largest file, in bytes. A provider's MB is read as 2^20: what lies between
    /// the two readings is the provider's to judge.
    pub max_bytes: u64,
    /// The shortest side, in pixels.
    pub min_side: u32,
    /// How many times as long as the other a side may be.
    pub max_ratio: Option<f64>,
}

impl Default for ImageLimits {
    fn default() -> Self {
        // 50 MiB is the most that any provider states.
        Self { formats: vec![ImageFormat::Jpeg, ImageFormat::Png], max_bytes: 50 << 20, min_side: 1, max_ratio: None }
    }
}

impl ImageLimits {
    /// What is wrong with a picture, as the end of a sentence that its field begins.
    pub fn complaint(&self, picture: &Picture) -> Option<String> {
        let Picture { format, bytes, sides } = *picture;
        if !self.formats.contains(&format) {
            return Some(format!("is a {}; must be a {}", format.word(), self.formats_for_people()));
        }
        if let Some(bytes) = bytes.filter(|bytes| *bytes > self.max_bytes) {
            return Some(format!("has {bytes} bytes; must have at most {}", self.max_bytes));
        }
        let (width, height) = sides?;
        let (short, long) = (width.min(height), width.max(height));
        if short < self.min_side {
            return Some(format!("is {width} x {height} pixels; each side must have at least {}", self.min_side));
        }
        let ratio = self.max_ratio.filter(|ratio| f64::from(long) > f64::from(short) * ratio)?;
        Some(format!("is {width} x {height} pixels; no side may be longer than {ratio} times the other"))
    }

    /// "jpeg or png".
    pub fn formats_for_people(&self) -> String {
        either(&self.formats.iter().map(|format| format.word().to_owned()).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn every_limit_holds_to_the_byte_and_to_the_pixel() {
        let picture = |format, bytes, sides| Picture { format, bytes: Some(bytes), sides: Some(sides) };
        let (jpeg, mib) = (ImageFormat::Jpeg, 1 << 20);
        let catalog = Catalog::built_in();
        let complaint = |model: &str, format, bytes, sides| {
            catalog.resolve(model).unwrap().limits.images.complaint(&picture(format, bytes, sides)).unwrap_or_default()
        };
        for (model, most) in [
            ("kling/kling-v2-6", 10 * mib),
            ("kling/kling-v2-master", 10 * mib),
            ("kling/kling-3.0", 50 * mib),
            ("fal/fal-ai/kling-video/v3/turbo/pro/image-to-video", 50 * mib),
        ] {
            assert_eq!(complaint(model, jpeg, most, (300, 750)), "", "{model}");
            let large = complaint(model, jpeg, most + 1, (300, 750));
            assert_eq!(large, format!("has {} bytes; must have at most {most}", most + 1), "{model}");
        }
        for model in ["kling/kling-v2-6", "kling/kling-3.0", "fal/fal-ai/kling-video/v3/pro/image-to-video"] {
            for sides in [(300, 300), (750, 300), (300, 750), (8000, 3200)] {
                assert_eq!(complaint(model, ImageFormat::Png, 1, sides), "", "{model} {sides:?}");
            }
            assert!(complaint(model, jpeg, 1, (299, 300)).contains("299 x 300"), "{model}");
            assert!(complaint(model, jpeg, 1, (300, 299)).contains("at least 300"), "{model}");
            assert!(complaint(model, jpeg, 1, (751, 300)).contains("2.5 times"), "{model}");
            assert!(complaint(model, jpeg, 1, (300, 751)).contains("2.5 times"), "{model}");
            assert_eq!(
                complaint(model, ImageFormat::WebP, 1, (300, 300)),
                "is a webp; must be a jpeg or png",
                "{model}"
            );
        }
        assert_eq!(complaint("fal/fal-ai/veo3.1/image-to-video", ImageFormat::WebP, 1, (16, 1)), "");
    }

    #[test]
    fn what_is_not_known_is_not_held_against_a_picture() {
        let unknown = Picture { format: ImageFormat::Png, bytes: None, sides: None };
        let strict = ImageLimits { max_bytes: 0, min_side: 9999, max_ratio: Some(1.0), ..ImageLimits::default() };
        assert_eq!(strict.complaint(&unknown), None);
    }
}
