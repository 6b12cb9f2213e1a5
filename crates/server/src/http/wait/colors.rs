//! Colours that an operator gives a page, and whether one can read what is written in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Four colours, each as `#rrggbb`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Colors {
    /// Behind everything.
    pub(crate) paper: String,
    /// The slip with the number.
    pub(crate) slip: String,
    /// What is written.
    pub(crate) ink: String,
    /// The number itself, and what stands out.
    pub(crate) mark: String,
}

/// Least contrast of text with what is behind it: WCAG 2.2, 1.4.3.
const CONTRAST_MIN: f64 = 4.5;

impl Colors {
    /// What is wrong: the field, and why.
    pub(crate) fn check(&self) -> Vec<(&'static str, String)> {
        let named = [("paper", &self.paper), ("slip", &self.slip), ("ink", &self.ink), ("mark", &self.mark)];
        let malformed: Vec<_> = named.iter().filter(|(_, color)| parse(color).is_none()).collect();
        if !malformed.is_empty() {
            return malformed.into_iter().map(|(name, _)| (*name, "must be a colour as #rrggbb".to_owned())).collect();
        }
        [("ink", "slip", &self.ink, &self.slip), ("ink", "paper", &self.ink, &self.paper), ("mark", "slip", &self.mark, &self.slip)]
            .into_iter()
            .filter_map(|(name, ground, over, under)| {
                let contrast = contrast(parse(over)?, parse(under)?);
                let reason = || format!("has a contrast of {contrast:.2} with {ground}; it must be {CONTRAST_MIN} or more to be read");
                (contrast < CONTRAST_MIN).then(|| (name, reason()))
            })
            .collect()
    }
}

fn parse(color: &str) -> Option<[u8; 3]> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let at = |start: usize| u8::from_str_radix(&digits[start..start + 2], 16).ok();
    Some([at(0)?, at(2)?, at(4)?])
}

/// The contrast ratio of WCAG 2.2: 1 to 21.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(color: [u8; 3]) -> f64 {
    let linear = |channel: u8| {
        let share = f64::from(channel) / 255.0;
        if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = color.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_as_wcag_computes_it() {
        for (one, other, expected) in [
            ([0, 0, 0], [255, 255, 255], 21.0),
            ([119, 119, 119], [255, 255, 255], 4.48),
            ([255, 0, 0], [255, 255, 255], 4.0),
            ([9, 9, 9], [9, 9, 9], 1.0),
        ] {
            let found = contrast(one, other);
            assert!((found - expected).abs() < 0.005, "{found}");
            assert!((found - contrast(other, one)).abs() < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (paper, slip, ink, mark, wrong) in [
            ("#faf8f3", "#ffffff", "#1c1b19", "#b93521", &[][..]),
            ("#FAF8F3", "#ffffff", "#777777", "#b93521", &[("ink", "slip"), ("ink", "paper")]),
            ("#000000", "#ffffff", "#1c1b19", "#b93521", &[("ink", "paper")]),
            ("#faf8f3", "#ffffff", "#1c1b19", "#ffcc00", &[("mark", "slip")]),
            ("red", "#fff", "#1c1b1g", "#b93521;}", &[("paper", "#rrggbb"), ("slip", "#rrggbb"), ("ink", "#rrggbb"), ("mark", "#rrggbb")]),
        ] {
            let colors = Colors { paper: paper.into(), slip: slip.into(), ink: ink.into(), mark: mark.into() };
            let found = colors.check();
            assert_eq!(found.len(), wrong.len(), "{found:?}");
            for ((field, reason), (name, part)) in found.iter().zip(wrong) {
                assert!(field == name && reason.contains(part), "{found:?}");
            }
        }
    }
}
