//! The thread that encodes uploaded photos. The results of the last ones are kept.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uard_search::{ContentHash, EncodedPhoto};

use crate::problem::{Code, Problem};

/// How many uploaded photos may be received, wait or be encoded at once. Each may have the largest size of
/// a body.
const PHOTOS: usize = 8;

/// How many encoded photos are kept, so that other words and further results need no second upload. One has
/// about 130 kB with 64 regions of width 512.
const KEPT: usize = 64;

/// Encodes the bytes of a photo as the photos of the index were encoded.
pub type EncodePhoto = Box<dyn FnMut(&[u8]) -> Result<EncodedPhoto, EncodeError> + Send>;

/// Why a photo was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeError {
    /// The photo cannot be read: the caller's fault, who is told this.
    Unreadable(String),
    /// The encoder failed: the service's fault, which logs this.
    Failed(String),
}

/// Sends photos to the thread that encodes them, and keeps what it made of the last ones.
#[derive(Debug)]
pub(crate) struct EncoderQueue {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
    /// The oldest first.
    kept: Mutex<VecDeque<UploadedPhoto>>,
}

/// An uploaded photo.
#[derive(Debug, Clone)]
pub(crate) struct UploadedPhoto {
    /// [`UPLOAD`] and the hash of its bytes.
    pub(crate) name: String,
    pub(crate) encoded: EncodedPhoto,
}

/// What the names of uploaded photos begin with.
pub(crate) const UPLOAD: &str = "upload-";

#[derive(Debug)]
struct Job {
    bytes: Bytes,
    /// Given back with the bytes, also if the caller is gone.
    _room: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<EncodedPhoto, EncodeError>>,
}

impl EncoderQueue {
    /// Starts the thread. It ends when the queue is gone.
    pub(crate) fn start(mut encoder: EncodePhoto) -> io::Result<Self> {
        let (jobs, received) = channel::<Job>();
        thread::Builder::new()
            .name("encode".to_owned())
            .spawn(move || {
                for job in received {
                    if job.reply.is_closed() {
                        continue;
                    }
                    let encoded = uard_files::caught(|| encoder(&job.bytes));
                    let encoded = encoded.unwrap_or_else(|panic| Err(EncodeError::Failed(panic)));
                    // The caller may be gone by now.
                    drop(job.reply.send(encoded));
                }
            })?;
        Ok(Self {
            jobs,
            room: Arc::new(Semaphore::new(PHOTOS)),
            kept: Mutex::default(),
        })
    }

    /// A photo that was uploaded before, if it is still kept.
    pub(crate) fn kept(&self, name: &str) -> Result<EncodedPhoto, Problem> {
        let kept = self.lock();
        let found = kept.iter().find(|photo| photo.name == name);
        found.map(|photo| photo.encoded.clone()).ok_or_else(|| {
            let detail = format!("no photo is kept as `{name}`");
            Problem::new(Code::NoUpload, detail)
        })
    }

    /// Room for one photo, to be reserved before its bytes are read.
    pub(crate) fn reserve(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        room.map_err(|_| {
            Problem::retry(
                Code::Busy,
                2,
                format!("{PHOTOS} photos are being received or encoded"),
            )
        })
    }

    /// Encodes a photo, if the same one is not kept, and keeps it.
    pub(crate) async fn upload(
        &self,
        bytes: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<UploadedPhoto, Problem> {
        let hashed = bytes.clone();
        // A large photo takes too long for a thread that answers requests.
        let content = tokio::task::spawn_blocking(move || ContentHash::hash(&hashed)).await;
        let content = content.map_err(|error| Problem::failed(&error))?;
        let name = format!("{UPLOAD}{}", uard_files::hex(&content.0[..16]));
        let encoded = match self.kept(&name) {
            Ok(encoded) => encoded,
            Err(_) => self.encode(bytes, room).await?,
        };
        let uploaded = UploadedPhoto { name, encoded };
        let mut kept = self.lock();
        kept.retain(|photo| photo.name != uploaded.name);
        kept.push_back(uploaded.clone());
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(uploaded)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<UploadedPhoto>> {
        // Whatever panicked, the photos in it are whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn encode(
        &self,
        bytes: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<EncodedPhoto, Problem> {
        let (reply, encoded) = oneshot::channel();
        let job = Job {
            bytes,
            _room: room,
            reply,
        };
        let ended = |_| Problem::failed(&"the thread that encodes photos has ended");
        self.jobs.send(job).map_err(|_| ended(()))?;
        match encoded.await.map_err(|_| ended(()))? {
            Ok(photo) => Ok(photo),
            Err(EncodeError::Unreadable(cause)) => Err(Problem::new(Code::Photo, cause)),
            Err(EncodeError::Failed(cause)) => Err(Problem::failed(&cause)),
        }
    }
}
