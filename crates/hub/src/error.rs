//! Errors of downloads from a hub, and of files of weights.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::source::HubName;

/// An error with the file, the tensor, and what was expected and found.
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
        /// The reader's message.
        cause: String,
    },
    /// The format of `torch.save` before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`.
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
        /// The shape that the configuration requires.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration requires.
    #[error("{}: tensor `{tensor}`: expected shape {}, found {}; the weights belong to another configuration", path.display(), shape(expected), shape(found))]
    WeightShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration requires.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of integers, or of floats of 8 or fewer bits, which need a scale from elsewhere.
    #[error("{}: tensor `{tensor}`: expected numbers of f16, bf16, f32 or f64, found {found}", path.display())]
    WeightType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The tensor's dtype.
        found: &'static str,
    },
    /// A weight that is NaN or infinite.
    #[error("{}: tensor `{tensor}` holds {value}, expected finite numbers; download the weights again", path.display())]
    WeightNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The weight.
        value: f32,
    },
    /// A file cannot be read or written, or is of another kind.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name on a hub or a download is wrong.
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

/// A request to a hub, as errors describe it.
#[derive(Debug, Clone)]
pub struct HubRequest {
    /// The repository at its revision.
    pub name: HubName,
    /// The file, the names that it may have, or another thing that was requested.
    pub file: String,
    /// The hub.
    pub endpoint: String,
}

/// A failed request, with what was requested and how to get it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A malformed name.
    #[error(
        "`{found}` is no name on a hub: expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION or \
         hf:OWNER/NAME/PATH@REVISION, of letters, digits, -, _, . and +; a file of that name on \
         this machine is ./{found}"
    )]
    Name {
        /// The name.
        found: String,
    },
    /// A folder of this machine has no file of any of the names.
    #[error(
        "{}: expected a file {names} there, found none; put it there or name a file",
        folder.display()
    )]
    NotInFolder {
        /// The folder.
        folder: PathBuf,
        /// The names that were looked for.
        names: String,
    },
    /// No folder for downloaded files is set.
    #[error("{name}: no folder for downloaded files; set HF_HOME or HF_HUB_CACHE")]
    NoCache {
        /// The name that was requested.
        name: HubName,
    },
    /// An endpoint that is no address.
    #[error("the hub's endpoint is `{found}`: expected https://HOST; change HF_ENDPOINT")]
    Endpoint {
        /// The endpoint.
        found: String,
    },
    /// The name is that of a single file, and several files of the repository are needed.
    #[error(
        "{name}: expected a repository, because several of its files are needed; leave out the \
         path after its name"
    )]
    SingleFile {
        /// The name that was requested.
        name: HubName,
    },
    /// The cache lacks a file, and connections are forbidden.
    #[error(
        "{}: {} is not in the cache {} and HF_HUB_OFFLINE forbids its download; unset it once, or \
         on a machine with a network run `hf download {} --revision {}` and copy that folder, or \
         name a folder that holds the file",
        request.name, request.file, cache.display(), request.name.repository(), request.name.revision()
    )]
    Offline {
        /// The request for the missing file.
        request: Box<HubRequest>,
        /// The repository's folder in the cache.
        cache: PathBuf,
    },
    /// The endpoint cannot be reached.
    #[error(
        "{}: cannot reach {} for {}: {cause}; check the network and HTTPS_PROXY, set HF_ENDPOINT \
         to a mirror, or copy the cached folder models--OWNER--NAME or the files from another \
         machine (with HF_HUB_OFFLINE=1 the cache alone is used)",
        request.name, request.endpoint, request.file
    )]
    Unreachable {
        /// The request.
        request: Box<HubRequest>,
        /// The message of the HTTP client.
        cause: String,
    },
    /// Status 401: the hub requires a token. Hubs also send it if there is no such repository.
    #[error(
        "{}: {} requires a token for {} (401): the repository is private or gated, or there is \
         none of this name; check the name, and set HF_TOKEN to a valid token",
        request.name, request.endpoint, request.file
    )]
    Unauthorized {
        /// The request.
        request: Box<HubRequest>,
    },
    /// Status 403: the token is valid and does not give access.
    #[error(
        "{}: {} refuses {} (403): accept the conditions on {}/{}, or set HF_TOKEN to a token that \
         may read it",
        request.name, request.endpoint, request.file, request.endpoint, request.name.repository()
    )]
    Forbidden {
        /// The request.
        request: Box<HubRequest>,
    },
    /// Status 404 for the repository at its revision.
    #[error(
        "{}: {} has no repository {} with a revision {} (404); check both",
        request.name, request.endpoint, request.name.repository(), request.name.revision()
    )]
    NoRevision {
        /// The request.
        request: Box<HubRequest>,
    },
    /// The repository lacks a file.
    #[error(
        "{}: expected a file {} in the repository, found {found}; choose another repository, or \
         name a file with hf:OWNER/NAME/PATH",
        request.name, request.file
    )]
    NoFile {
        /// The request.
        request: Box<HubRequest>,
        /// The files of the repository.
        found: String,
    },
    /// Another status, or a response that no hub sends.
    #[error(
        "{}: {} sent an unexpected response for {}: {cause}; try again later, or change \
         HF_ENDPOINT",
        request.name, request.endpoint, request.file
    )]
    Answer {
        /// The request.
        request: Box<HubRequest>,
        /// The status, or what is wrong with the response.
        cause: String,
    },
    /// A download ended early. The bytes that were received are kept.
    #[error(
        "{}: the download of {} from {} stopped: {cause}; start again to continue it",
        request.name, request.file, request.endpoint
    )]
    Interrupted {
        /// The request.
        request: Box<HubRequest>,
        /// The system's message.
        cause: String,
    },
    /// Another program downloads the same file.
    #[error(
        "{}: another program is downloading {}; start again when it is done",
        request.name, request.file
    )]
    Busy {
        /// The request.
        request: Box<HubRequest>,
    },
    /// A file has fewer bytes than the hub's; it was removed.
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
        /// Bytes in the cache.
        found: u64,
    },
    /// A file differs from the hub's; it was removed.
    #[error(
        "{}: differs from the hub's file: expected {expected}, found {found}; it was removed from \
         the cache: start again to download it",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Hash or size on the hub.
        expected: String,
        /// Hash or size of the file in the cache.
        found: String,
    },
}
