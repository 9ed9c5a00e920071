//! How are words looked up so that the gradient of each row of the embedding has one owner? Grouped
//! by their ids on the host: on CUDA a block of `lookup.cu` owns a row and adds its readers in their
//! order; on the CPU plain loops do so in the kernel's place.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use uard_core::slices::reading;

use super::selection::selected;

const NAME: &str = "gru-lookup";

/// The rows [N, E] of an embedding [V, E] that `ids` name, each below V.
pub(super) fn looked_up(embedding: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let index = Tensor::from_slice(ids, ids.len(), embedding.device())?;
    let readers = Readers::new(ids);
    selected(embedding, &index, move |embedding, index, upstream| {
        readers.gradient(embedding, index, upstream)
    })
}

/// Which words read each row that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readers {
    /// The distinct ids, ascending.
    pub(super) ids: Vec<u32>,
    /// Where the words of each id begin in `words`, and their number at the end.
    pub(super) starts: Vec<u32>,
    /// Words by their id, those of one id in their order.
    pub(super) words: Vec<u32>,
}

impl Readers {
    pub(super) fn new(read: &[u32]) -> Self {
        let mut words: Vec<u32> = (0..read.len() as u32).collect();
        words.sort_by_key(|&word| read[word as usize]);
        let (mut ids, mut starts) = (Vec::new(), Vec::new());
        for (at, &word) in words.iter().enumerate() {
            let id = read[word as usize];
            if ids.last() != Some(&id) {
                ids.push(id);
                starts.push(at as u32);
            }
        }
        starts.push(words.len() as u32);
        Self { ids, starts, words }
    }

    /// The gradient [V, E] of the embedding from that of the words, [N, E].
    pub(super) fn summed<T: WithDType>(
        &self,
        upstream: &[T],
        (rows, width): (usize, usize),
    ) -> Vec<T> {
        let mut sums = vec![T::zero(); rows * width];
        for (&id, ends) in self.ids.iter().zip(self.starts.windows(2)) {
            let sum = &mut sums[id as usize * width..][..width];
            for &word in &self.words[ends[0] as usize..ends[1] as usize] {
                let more = &upstream[word as usize * width..][..width];
                sum.iter_mut()
                    .zip(more)
                    .for_each(|(sum, &more)| *sum += more);
            }
        }
        sums
    }

    fn on_host<T: WithDType>(&self, upstream: &Tensor, shape: (usize, usize)) -> Result<Tensor> {
        let upstream = reading(upstream);
        let sums = self.summed(upstream.numbers::<T>(NAME)?, shape);
        Tensor::from_vec(sums, shape, &Device::Cpu)
    }

    fn gradient(&self, embedding: &Tensor, index: &Tensor, upstream: &Tensor) -> Result<Tensor> {
        let shape = embedding.dims2()?;
        match (upstream.device(), upstream.dtype()) {
            (Device::Cpu, DType::F64) => self.on_host::<f64>(upstream, shape),
            (Device::Cpu, _) => self.on_host::<f32>(upstream, shape),
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), DType::F32) => super::kernel::lookup_gradient(upstream, self, shape),
            _ => embedding.zeros_like()?.index_add(index, upstream, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use uard_testkit::assert_same_bytes;

    use super::*;

    #[test]
    fn readers_are_grouped_by_id_and_keep_their_order() {
        let readers = Readers::new(&[7, 3, 7, 9, 3, 7]);
        assert_eq!(readers.ids, [3, 7, 9]);
        assert_eq!(readers.starts, [0, 2, 5, 6]);
        assert_eq!(readers.words, [1, 4, 0, 2, 5, 3]);
    }

    #[test]
    fn the_gradient_is_that_of_a_selection() {
        let ids = [2, 0, 2, 4, 2, 0];
        let numbers: Vec<f32> = (0..15).map(|at| (at * at) as f32 - 40.0).collect();
        let embedding = Tensor::from_vec(numbers, (5, 3), &Device::Cpu).unwrap();
        let embedding = Var::from_tensor(&embedding).unwrap();
        let index = Tensor::new(&ids, &Device::Cpu).unwrap();
        let selected = embedding.index_select(&index, 0).unwrap();
        let [found, expected] = [looked_up(&embedding, &ids).unwrap(), selected].map(|words| {
            let loss = words.sin().unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            (words, gradients.get(&embedding).unwrap().clone())
        });
        assert_same_bytes(&found.0, &expected.0);
        assert_same_bytes(&found.1, &expected.1);
    }

    #[test]
    fn no_words_have_no_readers() {
        let readers = Readers::new(&[]);
        assert_eq!((readers.ids.len(), readers.starts), (0, vec![0]));
    }
}
