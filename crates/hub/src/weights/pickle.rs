//! What `torch.save` writes: a zip archive with a pickle of names and shapes, and a file of numbers
//! for each tensor.

mod limits;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::{DType, Tensor};
use zip::{CompressionMethod, ZipArchive};

use super::unreadable;
use crate::{Error, Result};
use uard_files::caught;

/// How a zip file begins.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";

/// How a pickle begins: an opcode, and the version of the protocol.
const PROTOCOL: u8 = 0x80;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=5;

/// How the names of pickles within an archive end.
const PICKLE: &str = "data.pkl";

/// Where a safetensors file has the first letter of its header.
const HEADER_PLACE: usize = 8;

/// The tensors of a state dict.
pub(super) struct Pickled {
    tensors: PthTensors,
    /// Bytes of each member of the archive.
    members: HashMap<String, u64>,
}

impl Pickled {
    /// Reads names and shapes.
    ///
    /// # Errors
    /// No whole archive; a compressed one, of which the size is not known before it is read; no
    /// pickle of a state dict, or one that takes more memory than any of them needs.
    pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Self> {
        let members = members(bytes).map_err(|cause| unreadable(path, &cause))?;
        let tensors = caught(|| PthTensors::new(path, None))
            .map_err(|cause| unreadable(path, &cause))?
            .map_err(|cause| unreadable(path, &cause))?;
        Ok(Self { tensors, members })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.tensor_infos().contains_key(name)
    }

    /// Shape and type of a tensor; none of its numbers are read.
    pub(super) fn info(&self, name: &str) -> Option<(Vec<usize>, DType)> {
        let info = self.tensors.tensor_infos().get(name)?;
        Some((info.layout.dims().to_vec(), info.dtype))
    }

    /// A tensor, if the archive has as many bytes as its shape needs.
    pub(super) fn read(&self, name: &str) -> std::result::Result<Option<Tensor>, String> {
        let Some(info) = self.tensors.tensor_infos().get(name) else {
            return Ok(None);
        };
        let dims = info.layout.dims();
        let found = self.members.get(&info.path).copied().unwrap_or(0);
        let numbers = dims
            .iter()
            .try_fold(1u64, |all, &axis| all.checked_mul(axis as u64));
        let needed = numbers
            .and_then(|numbers| numbers.checked_mul(info.dtype.size_in_bytes() as u64))
            .and_then(|bytes| bytes.checked_add(info.layout.start_offset() as u64));
        if needed.is_none_or(|needed| needed > found) {
            return Err(format!(
                "tensor `{name}` has shape {dims:?}, the {found} bytes of its numbers are fewer"
            ));
        }
        caught(|| self.tensors.get(name))?.map_err(|cause| cause.to_string())
    }
}

/// The error of what `torch.save` wrote before it wrote archives: a pickle without one.
pub(super) fn bare(path: &Path, bytes: &[u8]) -> Option<Error> {
    let is_pickle = bytes.first() == Some(&PROTOCOL)
        && bytes
            .get(1)
            .is_some_and(|version| VERSIONS.contains(version))
        && bytes.get(HEADER_PLACE) != Some(&b'{');
    is_pickle.then(|| Error::OldPickle {
        path: path.to_owned(),
    })
}

fn members(bytes: &[u8]) -> std::result::Result<HashMap<String, u64>, String> {
    let said = |cause: zip::result::ZipError| cause.to_string();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(said)?;
    let mut members = HashMap::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index_raw(at).map_err(said)?;
        let name = member.name().map_err(said)?.into_owned();
        if member.compression() != CompressionMethod::Stored {
            return Err(format!(
                "`{name}` is compressed, torch.save stores without compression"
            ));
        }
        if name.ends_with(PICKLE) {
            let mut pickle = Vec::new();
            let read = member.read_to_end(&mut pickle);
            read.map_err(|cause| format!("`{name}`: {cause}"))?;
            limits::check(&pickle)?;
        }
        members.insert(name, member.compressed_size());
    }
    Ok(members)
}
