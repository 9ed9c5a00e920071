//! Evaluation of retrieval: ranks, recall, folds, alignment, and differences between models with
//! confidence intervals.
//!
//! The input is a [`SimilarityMatrix`] (images by captions) and a [`GroundTruth`] that states which
//! pairs match; the output is a [`RetrievalReport`], whose `protocol` states how it was made. This
//! crate has no tensors, devices or files.
//!
//! ```
//! use uard_eval::{GroundTruth, SimilarityMatrix, evaluate};
//!
//! // Two images with two captions each.
//! let similarities = vec![
//!     0.9, 0.7, 0.1, 0.2, // image 0
//!     0.3, 0.8, 0.6, 0.5, // image 1
//! ];
//! let matrix = SimilarityMatrix::new(similarities, 2, 4)?;
//! let truth = GroundTruth::from_image_of_caption(&[0, 0, 1, 1], 2)?;
//! let report = evaluate(&matrix, &truth)?;
//!
//! assert_eq!(report.protocol, "all 2 images at once, single model");
//! assert_eq!(report.image_to_text.r1, 50.0); // image 1 prefers a caption of image 0
//! assert_eq!(report.text_to_image.r1, 75.0); // caption 1 prefers image 1
//! # Ok::<(), uard_eval::Error>(())
//! ```

mod alignment;
mod decision;
mod error;
mod fold;
mod ground_truth;
mod judgement;
mod matrix;
mod normalization;
mod paired;
mod rank;
mod recall;
mod repeated;
mod report;
mod spread;

pub use alignment::{AlignmentCounts, WordAlignment};
pub use decision::DecisionCounts;
pub use error::{Error, Result};
pub use fold::{evaluate_folds, expect_folds};
pub use ground_truth::GroundTruth;
pub use judgement::{JudgedPercent, JudgementReport, evaluate_judgements};
pub use matrix::{SimilarityMatrix, ensemble};
pub use normalization::ReferenceSimilarities;
pub use paired::{ImageHits, PairedDifference, bootstrap_difference};
pub use rank::{Ranks, RetrievalDirection, ranks};
pub use recall::{Recall, recall_at};
pub use report::{RecallPercent, RetrievalReport, evaluate};
pub use spread::{Interval, Spread};
