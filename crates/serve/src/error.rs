//! The error type of this crate.

use std::io;
use std::net::SocketAddr;

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the service cannot start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index cannot be opened.
    #[error(transparent)]
    Search(#[from] uard_search::Error),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; another program may use it: choose another port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other computers could ask the service, and it has no token.
    #[error(
        "{address} can be reached from other computers: choose a token that they must know, or listen on 127.0.0.1"
    )]
    NoToken {
        /// The address.
        address: SocketAddr,
    },
    /// A token that others could guess, or that does not fit into a cookie.
    #[error(
        "expected a token of at least {least} letters, digits and signs of `-._~`; this one has {found} characters, or others"
    )]
    Token {
        /// The number of its characters.
        found: usize,
        /// The least number.
        least: usize,
    },
    /// The operating system gives no thread.
    #[error("the service cannot run: {source}")]
    Run {
        /// The error of the operating system.
        #[from]
        source: io::Error,
    },
}
