//! Accepts connections and answers their requests, until the service stops.
//!
//! Connections are limited in number, and those that send no complete head of a request in time are
//! closed. At the end, no more connections are made; those that the operating system has made or is making
//! are still accepted, and their requests have a moment to arrive. Otherwise the system would reset them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The most connections at once. A browser opens six for a page.
const MOST: usize = 512;

/// The longest time in which the line and the headers of a request may arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How often it is looked whether the service shall stop.
const POLL: Duration = Duration::from_millis(20);

/// How long the last connections may take to be made.
const LAST_CONNECTIONS: Duration = Duration::from_millis(100);

/// How long the requests of the last connections may be on their way.
const LAST_REQUESTS: Duration = Duration::from_millis(100);

/// How long requests that were accepted may take after the service was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// How long to wait after an error, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Serves connections until `stop` is set and their requests are answered.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: &AtomicBool) {
    let connections = Connections {
        router,
        room: Arc::new(Semaphore::new(MOST)),
    };
    let graceful = GracefulShutdown::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(Ok(room)) = timeout(POLL, Arc::clone(&connections.room).acquire_owned()).await
        else {
            continue;
        };
        match timeout(POLL, listener.accept()).await {
            Ok(Ok((stream, _))) => connections.start(stream, room, graceful.watcher()),
            Ok(Err(error)) => wait_after(&error).await,
            Err(_) => {}
        }
    }
    if let Err(error) = make_no_more(&listener) {
        tracing::warn!("the system may reset connections that it makes now: {error}");
    }
    let end = Instant::now() + LAST_CONNECTIONS;
    while let Ok(Ok((stream, _))) = timeout_at(end, listener.accept()).await {
        let Ok(room) = Arc::clone(&connections.room).try_acquire_owned() else {
            break;
        };
        connections.start(stream, room, graceful.watcher());
    }
    drop(listener);
    sleep(LAST_REQUESTS).await;
    // What takes longer is given up.
    let _ = timeout(LAST_ANSWERS, graceful.shutdown()).await;
}

/// Lets the system make no more connections, and finish those that it is making.
///
/// Linux: a filter drops every packet that asks for a connection (its SYN bit is set). The other computer
/// repeats it, and is refused once the socket is closed. Other systems: the backlog of the socket becomes
/// as short as possible.
fn make_no_more(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    #[cfg(not(target_os = "linux"))]
    return socket.listen(0);
    #[cfg(target_os = "linux")]
    socket.attach_filter(&[
        // Load byte 13 of the TCP header, the flags; if SYN (0x02) is set, drop the packet, else keep it.
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x45, 0, 1, 2),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ])
}

/// What every connection needs.
struct Connections {
    router: Router,
    room: Arc<Semaphore>,
}

impl Connections {
    /// Serves a connection beside all others.
    fn start(&self, stream: TcpStream, room: OwnedSemaphorePermit, watcher: Watcher) {
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // An error is a client that is gone, or no HTTP.
            let _ = watcher.watch(connection).await;
            drop(room);
        });
    }
}

async fn wait_after(error: &io::Error) {
    tracing::warn!("a connection was not accepted: {error}");
    sleep(AFTER_ERROR).await;
}
