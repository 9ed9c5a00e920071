//! Accepts connections until the service stops, and then those that the operating system has made already.
//!
//! A client whose connection was made, but not accepted, would see it reset; so would one whose request is
//! still on its way when connections without a request are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::serve::Listener;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How often it is looked whether the service shall stop.
const POLL: Duration = Duration::from_millis(20);

/// How long the requests of the last connections may be on their way.
const LAST_REQUESTS: Duration = Duration::from_millis(100);

/// How long to wait after an error, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// A listener that closes itself when the service shall stop.
pub(crate) struct ClosingListener {
    /// None once it is closed.
    listener: Option<TcpListener>,
    address: SocketAddr,
    stop: &'static AtomicBool,
    /// Told when all connections are accepted and their requests had time to come.
    closed: Option<oneshot::Sender<()>>,
}

impl ClosingListener {
    /// Also returns what is told that the listener has closed.
    pub(crate) fn new(
        listener: TcpListener,
        stop: &'static AtomicBool,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (closed, told) = oneshot::channel();
        let listening = Self {
            address: listener.local_addr()?,
            listener: Some(listener),
            stop,
            closed: Some(closed),
        };
        Ok((listening, told))
    }

    /// Closes the listener; the connection is one that was made before, if there is another.
    async fn close(&mut self) -> Option<(TcpStream, SocketAddr)> {
        if let Some(listener) = &self.listener {
            // No more connections are made; if the system cannot do that, it refuses them when the
            // listener is closed.
            let _ = SockRef::from(listener).listen(0);
            if let Ok(Ok(connection)) = timeout(Duration::ZERO, listener.accept()).await {
                return Some(connection);
            }
            self.listener = None;
            sleep(LAST_REQUESTS).await;
        }
        if let Some(closed) = self.closed.take() {
            // Nobody listens if the service has ended.
            let _ = closed.send(());
        }
        None
    }
}

impl Listener for ClosingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let listener = match &self.listener {
                Some(listener) if !self.stop.load(Ordering::Relaxed) => listener,
                _ => match self.close().await {
                    Some(connection) => return connection,
                    None => std::future::pending().await,
                },
            };
            match timeout(POLL, listener.accept()).await {
                Ok(Ok(connection)) => return connection,
                Ok(Err(error)) => {
                    tracing::warn!("a connection was not accepted: {error}");
                    sleep(AFTER_ERROR).await;
                }
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
