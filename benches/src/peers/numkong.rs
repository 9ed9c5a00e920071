//! MaxSim by NumKong, on matrices of bf16 that are packed once, with one pair a call.
//!
//! NumKong returns `sum_i min_j (1 - cos)` over the words, so the mean of the highest cosines is one minus
//! the mean of this sum. Without AMX it finds each word's best region among vectors rounded to eight bits,
//! and computes only that cosine in bf16.

/// Why NumKong does not take part in this build.
#[cfg(not(feature = "numkong"))]
pub const MISSING: &str = "uard-bench was built without the feature `numkong`: its C sources did \
                           not compile (see the build's output), or cargo was called by hand";

#[cfg(feature = "numkong")]
pub use linked::{Packed, kernel_name};

#[cfg(feature = "numkong")]
mod linked {
    use anyhow::anyhow;
    use numkong::{MaxSimPackedMatrix, Tensor, bf16};
    use uard_core::{Regions, Words};

    /// All images and captions, packed by NumKong.
    pub struct Packed {
        images: Vec<MaxSimPackedMatrix<bf16>>,
        captions: Vec<MaxSimPackedMatrix<bf16>>,
    }

    impl Packed {
        /// Packs fragments, rounded to bf16 like ours.
        ///
        /// # Errors
        /// If NumKong fails.
        pub fn new(regions: &Regions, words: &Words) -> anyhow::Result<Self> {
            numkong::capabilities::configure_thread();
            Ok(Self {
                images: pack(regions.rows(), regions.counts())?,
                captions: pack(words.rows(), words.counts())?,
            })
        }

        /// The mean over a caption's words of their highest relevance, for every pair, on the
        /// calling thread; row-major [I, C].
        ///
        /// # Errors
        /// If NumKong fails.
        pub fn similarities_into(&self, out: &mut [f32]) -> anyhow::Result<()> {
            let rows = out.chunks_mut(self.captions.len()).zip(&self.images);
            for (row, image) in rows {
                for (value, caption) in row.iter_mut().zip(&self.captions) {
                    let distance = caption.try_score(image).map_err(refused)?;
                    *value = 1.0 - distance / caption.dims().0 as f32;
                }
            }
            Ok(())
        }
    }

    /// The kernel that NumKong uses on this processor.
    pub fn kernel_name() -> String {
        use numkong::capabilities::{available, cap};
        let kernels = [
            (cap::SAPPHIREAMX, "AMX, bf16"),
            (cap::GENOA, "AVX-512 VNNI in eight bits, the best in bf16"),
            (cap::HASWELL, "AVX2 in eight bits, the best in bf16"),
        ];
        let found = kernels.iter().find(|(bit, _)| available() & bit != 0);
        found.map_or("serial", |(_, name)| name).to_owned()
    }

    fn pack(
        rows: &candle_core::Tensor,
        counts: &[usize],
    ) -> anyhow::Result<Vec<MaxSimPackedMatrix<bf16>>> {
        let width = rows.dim(2)?;
        let mut packed = Vec::with_capacity(counts.len());
        for (entry, &count) in counts.iter().enumerate() {
            let rows = rows.get(entry)?.narrow(0, 0, count)?.flatten_all()?;
            let numbers: Vec<bf16> = rows
                .to_vec1::<f32>()?
                .into_iter()
                .map(|x| bf16(half::bf16::from_f32(x).to_bits()))
                .collect();
            let tensor: Tensor<bf16> =
                Tensor::try_from_slice(&numbers, &[count, width]).map_err(refused)?;
            packed.push(MaxSimPackedMatrix::try_pack(&tensor.view()).map_err(refused)?);
        }
        Ok(packed)
    }

    fn refused(error: impl std::fmt::Debug) -> anyhow::Error {
        anyhow!("numkong: {error:?}")
    }
}
