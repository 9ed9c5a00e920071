//! The precision of relevance: f32, bf16, f16, or bf16 with exact results.

use serde::{Deserialize, Serialize};

use crate::names::named;

/// The numbers that relevance is computed in; Gram matrices and attention are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Products in f32.
    #[default]
    F32,
    /// Fragments rounded to bf16, products accumulated in f32.
    Bf16,
    /// Fragments rounded to f16, products accumulated in f32: three more bits of precision than
    /// bf16, and a smaller range, which unit vectors do not leave. On a GPU only.
    F16,
    /// Pairs are screened in bf16 with a proven bound, and those that may matter to a result are
    /// computed in f32: results are those of f32.
    Exact,
}

impl Precision {
    /// Whether it reads panels of f32.
    pub fn needs_f32(self) -> bool {
        matches!(self, Self::F32 | Self::Exact)
    }

    /// Whether it reads panels of bf16.
    pub fn needs_bf16(self) -> bool {
        matches!(self, Self::Bf16 | Self::Exact)
    }
}

named!(Precision, "precision", {
    F32 => "f32",
    Bf16 => "bf16",
    F16 => "f16"
    or Exact => "exact"
});
