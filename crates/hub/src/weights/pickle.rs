//! Reads state dicts of `torch.save`: a zip archive with a pickle of names and shapes, and a member
//! with the numbers of each tensor.

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

/// The first bytes of a zip file.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";

/// The first two bytes of a pickle: an opcode, and the version of the protocol.
const PROTOCOL: u8 = 0x80;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=5;

/// How the name of the pickle within an archive ends.
const PICKLE: &str = "data.pkl";

/// The byte of a safetensors file at which its header begins.
const HEADER_OFFSET: usize = 8;

/// The tensors of a state dict.
pub(super) struct PickledTensors {
    tensors: PthTensors,
    /// The size of each member of the archive, in bytes.
    members: HashMap<String, u64>,
}

impl PickledTensors {
    /// Reads names and shapes.
    ///
    /// # Errors
    /// The archive is damaged; a member is compressed, so that the size of its numbers is not known
    /// before they are read; it holds no pickle of a state dict, or one that exceeds [`limits`].
    pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Self> {
        let members = member_sizes(bytes).map_err(|cause| unreadable(path, &cause))?;
        let tensors = caught(|| PthTensors::new(path, None))
            .map_err(|cause| unreadable(path, &cause))?
            .map_err(|cause| unreadable(path, &cause))?;
        Ok(Self { tensors, members })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.tensor_infos().contains_key(name)
    }

    /// Shape and dtype of a tensor, without reading its numbers.
    pub(super) fn info(&self, name: &str) -> Option<(Vec<usize>, DType)> {
        let info = self.tensors.tensor_infos().get(name)?;
        Some((info.layout.dims().to_vec(), info.dtype))
    }

    /// Reads a tensor; `None` if there is none of this name. Fails if its member of the archive has
    /// fewer bytes than its shape needs.
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
                "tensor `{name}` of shape {dims:?} needs more than the {found} bytes of its numbers"
            ));
        }
        caught(|| self.tensors.get(name))?.map_err(|cause| cause.to_string())
    }
}

/// The error for a pickle without an archive around it, as `torch.save` wrote before PyTorch 1.6;
/// `None` for other bytes.
pub(super) fn old_pickle_error(path: &Path, bytes: &[u8]) -> Option<Error> {
    let is_pickle = bytes.first() == Some(&PROTOCOL)
        && bytes
            .get(1)
            .is_some_and(|version| VERSIONS.contains(version))
        && bytes.get(HEADER_OFFSET) != Some(&b'{');
    is_pickle.then(|| Error::OldPickle {
        path: path.to_owned(),
    })
}

/// The size of each member of an archive, in bytes. Checks the pickle against [`limits`].
fn member_sizes(bytes: &[u8]) -> std::result::Result<HashMap<String, u64>, String> {
    let message = |cause: zip::result::ZipError| cause.to_string();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(message)?;
    let mut members = HashMap::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index_raw(at).map_err(message)?;
        let name = member.name().map_err(message)?.into_owned();
        if member.compression() != CompressionMethod::Stored {
            return Err(format!(
                "`{name}` is compressed, but torch.save stores without compression"
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
