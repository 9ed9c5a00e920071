//! The thread that encodes uploaded photos.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uard_search::QueryPhoto;

use crate::problem::{Code, Problem};

/// How many uploaded photos may be received, wait or be encoded at once. Each may have the largest size of
/// a body.
const PHOTOS: usize = 8;

/// Encodes the bytes of a photo as the photos of the index were encoded.
pub type EncodePhoto = Box<dyn FnMut(&[u8]) -> Result<QueryPhoto, EncodeError> + Send>;

/// Why a photo was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeError {
    /// The photo cannot be read: the caller's fault, who is told this.
    Unreadable(String),
    /// The encoder failed: the service's fault, which logs this.
    Failed(String),
}

/// Sends photos to the thread that encodes them.
#[derive(Debug)]
pub(crate) struct EncoderQueue {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Job {
    bytes: Bytes,
    /// Given back with the bytes, also if the caller is gone.
    _room: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<QueryPhoto, EncodeError>>,
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

    /// Encodes a photo.
    pub(crate) async fn encode(
        &self,
        bytes: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<QueryPhoto, Problem> {
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
