//! What can go wrong between the name of a network and its numbers: on the way from a hub, and in
//! files of weights.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::source::HubName;

/// A cause, with the file, the tensor, and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder without weights.
    #[error("{}: neither model.safetensors nor pytorch_model.bin is there, nor the index (….index.json) of several such files; download one of them into this folder", folder.display())]
    MissingWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of weights that cannot be read at all.
    #[error("{}: no weights can be read: {cause}; expected the safetensors or zipped pickle of a state dict, so download it again if it is truncated", path.display())]
    UnreadableWeights {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// What `torch.save` wrote before PyTorch 1.6, or with the old format asked for.
    #[error("{0}: a bare pickle, as torch.save wrote before PyTorch 1.6, expected its zip archive or safetensors; write it again with a newer PyTorch: python -c \"import torch; torch.save(torch.load('{0}', map_location='cpu', weights_only=True), '{0}')\"", path.display())]
    OldPickle {
        /// The file.
        path: PathBuf,
    },
    /// A file of weights without a tensor that the model needs.
    #[error("{}: tensor `{tensor}` is missing, expected it with shape {}; the weights belong to another configuration", path.display(), shape(expected))]
    MissingWeight {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration says.
    #[error("{}: tensor `{tensor}`: expected shape {}, found {}; the weights belong to another configuration", path.display(), shape(expected), shape(found))]
    WeightShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of integers, or of numbers so short that they mean nothing without a scale.
    #[error("{}: tensor `{tensor}`: expected numbers of f16, bf16, f32 or f64, found {found}", path.display())]
    WeightType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: &'static str,
    },
    /// A weight that is not a number or infinite.
    #[error("{}: tensor `{tensor}` holds {value}, expected finite numbers; download the weights again", path.display())]
    WeightNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is there.
        value: f32,
    },
    /// A file cannot be read or written, or is of another kind.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name on a hub, or a file from there.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}

/// A shape as Python prints it: `(64, 3, 7, 7)`, `(5,)`.
fn shape(sizes: &[usize]) -> String {
    match sizes {
        [only] => format!("({only},)"),
        _ => {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    }
}

/// A request to a hub, for messages.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The repository at its revision.
    pub name: HubName,
    /// The file, the names that it may have, or what else was asked for.
    pub file: String,
    /// The hub.
    pub endpoint: String,
}

/// A cause, with what was asked for, and how to get it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name that cannot be one.
    #[error(
        "`{found}` names nothing on a hub: expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION or \
         hf:OWNER/NAME/PATH@REVISION, of letters, digits, -, _, . and +; a file of that name on \
         this machine is ./{found}"
    )]
    Name {
        /// What was given.
        found: String,
    },
    /// None of the names is in a folder of this machine.
    #[error(
        "{}: expected a file {names} there, found none; put it there or name a file",
        folder.display()
    )]
    NotInFolder {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        names: String,
    },
    /// Nobody said where downloaded files are kept.
    #[error("{name}: no folder for downloaded files; set HF_HOME or HF_HUB_CACHE")]
    NoCache {
        /// What was asked for.
        name: HubName,
    },
    /// An endpoint that is no address.
    #[error("the hub's endpoint is `{found}`: expected https://HOST; change HF_ENDPOINT")]
    Endpoint {
        /// What was given.
        found: String,
    },
    /// A folder is needed where a single file is named.
    #[error(
        "{name}: expected a repository, for several of its files are needed; leave out the path \
         behind its name"
    )]
    SingleFile {
        /// What was asked for.
        name: HubName,
    },
    /// The cache lacks a file, and connections are forbidden.
    #[error(
        "{}: {} is not in the cache {} and HF_HUB_OFFLINE forbids to fetch it; unset it once, or \
         on a machine with a network run `hf download {} --revision {}` and copy that folder, or \
         name a folder that holds the file",
        asked.name, asked.file, cache.display(), asked.name.repository(), asked.name.revision()
    )]
    Offline {
        /// What is missing.
        asked: Box<Asked>,
        /// The repository's folder in the cache.
        cache: PathBuf,
    },
    /// The endpoint cannot be reached.
    #[error(
        "{}: cannot reach {} for {}: {cause}; check the network and HTTPS_PROXY, set HF_ENDPOINT \
         to a mirror, or copy the cached folder models--OWNER--NAME or the files from another \
         machine (with HF_HUB_OFFLINE=1 the cache alone is used)",
        asked.name, asked.endpoint, asked.file
    )]
    Unreachable {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
        /// What the transport said.
        cause: String,
    },
    /// Status 401: the endpoint wants to know who asks, also where there is no such repository.
    #[error(
        "{}: {} wants a token for {} (401): the repository is private or gated, or there is none \
         of this name; check the name, and set HF_TOKEN to a valid token",
        asked.name, asked.endpoint, asked.file
    )]
    Unauthorized {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
    },
    /// Status 403: the token is known and not enough.
    #[error(
        "{}: {} refuses {} (403): accept the conditions on {}/{}, or set HF_TOKEN to a token that \
         may read it",
        asked.name, asked.endpoint, asked.file, asked.endpoint, asked.name.repository()
    )]
    Forbidden {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
    },
    /// Status 404 for the repository at its revision.
    #[error(
        "{}: {} has no repository {} with a revision {} (404); check both",
        asked.name, asked.endpoint, asked.name.repository(), asked.name.revision()
    )]
    NoRevision {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
    },
    /// The repository lacks a file.
    #[error(
        "{}: expected a file {} in the repository, found {found}; choose another repository, or \
         name a file with hf:OWNER/NAME/PATH",
        asked.name, asked.file
    )]
    NoFile {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
        /// What the repository has.
        found: String,
    },
    /// Another status, or an answer that no hub gives.
    #[error(
        "{}: {} did not answer for {} as a hub does: {cause}; try again later, or change \
         HF_ENDPOINT",
        asked.name, asked.endpoint, asked.file
    )]
    Answer {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
        /// What was wrong.
        cause: String,
    },
    /// A download ended early; what came is kept.
    #[error(
        "{}: the download of {} from {} stopped: {cause}; start again to continue it",
        asked.name, asked.file, asked.endpoint
    )]
    Interrupted {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
        /// What the system said.
        cause: String,
    },
    /// Another program downloads the same file.
    #[error(
        "{}: another program is downloading {}; start again when it is done",
        asked.name, asked.file
    )]
    Busy {
        /// A request to a hub, for messages.
        asked: Box<Asked>,
    },
    /// A file has less than the hub has of it; it was removed.
    #[error(
        "{}: truncated: expected {expected} bytes, found {found}; it was removed from the cache: \
         start again to download it",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes on the hub.
        expected: u64,
        /// Bytes that are here.
        found: u64,
    },
    /// A file is another one than the hub has; it was removed.
    #[error(
        "{}: not the file of the hub: expected {expected}, found {found}; it was removed from the \
         cache: start again to download it",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Hash or size on the hub.
        expected: String,
        /// Hash or size of what is here.
        found: String,
    },
}
