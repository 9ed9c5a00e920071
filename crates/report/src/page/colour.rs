//! The colour scale of relevance.

/// The colours of the scale, from sand to deep teal. Lightness falls from end to end, so that their
/// order is visible in grey too.
const RAMP: [[f64; 3]; 5] = [
    [238.0, 217.0, 158.0],
    [186.0, 219.0, 183.0],
    [104.0, 184.0, 166.0],
    [32.0, 135.0, 139.0],
    [12.0, 84.0, 103.0],
];

/// Colours relevance from the threshold (sand) to the highest one shown (teal).
#[derive(Debug, Clone, Copy)]
pub(super) struct RelevanceScale {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A background and the text colour that is readable on it.
pub(super) struct Shade {
    pub(super) background: String,
    pub(super) text: &'static str,
}

impl RelevanceScale {
    /// A scale over the range `[low, high]`, which is widened if it is empty.
    pub(super) fn new(low: f64, high: f64) -> Self {
        let high = high.max(low + 0.05);
        Self { low, high }
    }

    /// The colour of one relevance; a relevance outside the scale gets the colour of the nearest
    /// end.
    pub(super) fn shade(self, relevance: f64) -> Shade {
        let fraction = ((relevance - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        // NaN gets the colour of the lowest relevance.
        let position = fraction.max(0.0) * (RAMP.len() - 1) as f64;
        let below = (position as usize).min(RAMP.len() - 2);
        let share = position - below as f64;
        let channel = |c: usize| RAMP[below][c] + share * (RAMP[below + 1][c] - RAMP[below][c]);
        let [red, green, blue] = [channel(0), channel(1), channel(2)];
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        Shade {
            background: format!("#{:02x}{:02x}{:02x}", red as u8, green as u8, blue as u8),
            text: if luma > 128.0 { "#10201f" } else { "#ffffff" },
        }
    }

    /// The colours of the scale as a CSS gradient, from left to right.
    pub(super) fn gradient(self) -> String {
        let step = (self.high - self.low) / (RAMP.len() - 1) as f64;
        let stops =
            (0..RAMP.len()).map(|stop| self.shade(self.low + stop as f64 * step).background);
        format!(
            "linear-gradient(90deg,{})",
            stops.collect::<Vec<_>>().join(",")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::RelevanceScale;

    #[test]
    fn values_beyond_the_scale_get_the_colour_of_its_end() {
        let scale = RelevanceScale::new(0.2, 0.6);
        assert_eq!(scale.shade(-1.0).background, "#eed99e");
        assert_eq!(scale.shade(2.0).background, "#0c5467");
        assert_eq!(scale.shade(f64::NAN).background, "#eed99e");
    }

    #[test]
    fn text_is_dark_on_light_and_light_on_dark() {
        let scale = RelevanceScale::new(0.0, 1.0);
        assert_eq!(scale.shade(0.0).text, "#10201f");
        assert_eq!(scale.shade(1.0).text, "#ffffff");
    }
}
