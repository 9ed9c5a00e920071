//! The thread that searches, and its queue.
//!
//! The length of the queue is measured in work: the words of a query, because each is compared with
//! every photo. A request that does not fit is refused at once, so that those which are accepted are
//! answered in time. Requests that wait are answered together, and the regions are read once for all.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use uard_search::answer::{Answer, PhotoResult};
use uard_search::{PhotoId, QueryPhoto, SearchRequest, Searcher};

use crate::metrics::Metrics;
use crate::problem::{Code, Problem};

/// The most words of queries that are answered together.
const WORDS_AT_ONCE: usize = 32;

/// The work of a photo as query: it has as many regions as several queries have words.
const WORK_OF_PHOTO: usize = 16;

/// Sends requests to the thread that searches.
#[derive(Debug)]
pub(crate) struct SearchQueue {
    jobs: Sender<Job>,
    /// A permit for each word that may wait or be searched for. A request holds its permits until it is
    /// answered, or its caller is gone.
    room: Semaphore,
    size: usize,
    thread: JoinHandle<()>,
}

type Reply<T> = oneshot::Sender<Result<T, uard_search::Error>>;

struct Job {
    task: Task,
    /// How many words it has.
    work: usize,
}

enum Task {
    Search(Box<SearchRequest>, Reply<Answer>),
    Explain(PhotoId, String, Reply<PhotoResult>),
}

impl SearchQueue {
    /// Starts the thread. It ends when the queue is gone.
    pub(crate) fn start(
        searcher: Searcher,
        size: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (jobs, received) = channel();
        let thread = thread::Builder::new()
            .name("search".to_owned())
            .spawn(move || Worker { searcher, metrics }.run(&received))?;
        Ok(Self {
            jobs,
            room: Semaphore::new(size),
            size,
            thread,
        })
    }

    /// Whether the thread runs.
    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Answers a search.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<Answer, Problem> {
        let work_of_photo = request.like.as_ref().map_or(0, |_| WORK_OF_PHOTO);
        let work = words(&request.text) + work_of_photo;
        let _room = self.reserve(work)?;
        let (reply, answer) = oneshot::channel();
        self.send(Task::Search(Box::new(request), reply), work)?;
        received(answer.await)
    }

    /// Explains a photo of the index.
    pub(crate) async fn explain(
        &self,
        photo: PhotoId,
        text: String,
    ) -> Result<PhotoResult, Problem> {
        let work = words(&text);
        let _room = self.reserve(work)?;
        let (reply, answer) = oneshot::channel();
        self.send(Task::Explain(photo, text, reply), work)?;
        received(answer.await)
    }

    /// How many words wait or are searched for.
    pub(crate) fn work(&self) -> usize {
        self.size - self.room.available_permits()
    }

    fn reserve(&self, work: usize) -> Result<SemaphorePermit<'_>, Problem> {
        // A query of more words than the queue holds is answered when the queue is empty.
        let permits = u32::try_from(work.clamp(1, self.size)).unwrap_or(u32::MAX);
        self.room.try_acquire_many(permits).map_err(|_| {
            let detail = format!("{} words are being searched for", self.work());
            Problem::retry(Code::Busy, 1, detail)
        })
    }

    fn send(&self, task: Task, work: usize) -> Result<(), Problem> {
        let sent = self.jobs.send(Job { task, work });
        sent.map_err(|_| Problem::failed(&"the thread that searches has ended"))
    }
}

/// About how many words a text has: its runs of letters and digits.
fn words(text: &str) -> usize {
    let parts = text.split(|character: char| !character.is_alphanumeric());
    parts.filter(|part| !part.is_empty()).count()
}

fn received<T>(
    reply: Result<Result<T, uard_search::Error>, oneshot::error::RecvError>,
) -> Result<T, Problem> {
    let answer = reply.map_err(|_| Problem::failed(&"the search ended without an answer"))?;
    Ok(answer?)
}

struct Worker {
    searcher: Searcher,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut work = first.work;
            let mut batch = vec![first];
            while work < WORDS_AT_ONCE {
                let Ok(next) = jobs.try_recv() else { break };
                work += next.work;
                batch.push(next);
            }
            let begun = Instant::now();
            let searched = uard_files::caught(|| self.answer(batch));
            if let Err(panic) = searched {
                tracing::error!("a search failed: {panic}");
            }
            self.metrics.searched(work, begun.elapsed());
        }
    }

    /// Answers a batch. A request whose caller is gone is left out.
    fn answer(&mut self, batch: Vec<Job>) {
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        for job in batch {
            match job.task {
                Task::Search(request, reply) if !reply.is_closed() => {
                    requests.push(*request);
                    replies.push(reply);
                }
                Task::Explain(photo, text, reply) if !reply.is_closed() => {
                    let photo = QueryPhoto::Indexed(photo);
                    drop(reply.send(self.searcher.explain(&photo, &text)));
                }
                Task::Search(..) | Task::Explain(..) => {}
            }
        }
        for (reply, answer) in replies.into_iter().zip(self.searcher.answers(&requests)) {
            // The caller may be gone by now.
            drop(reply.send(answer));
        }
    }
}
