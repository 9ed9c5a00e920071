//! Starts the service, and stops it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Router, http};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use uard_search::{Index, Searcher};

use crate::encoder::{EncodePhoto, EncoderQueue};
use crate::guard::{self, Access};
use crate::metrics::{self, Metrics};
use crate::queue::SearchQueue;
use crate::state::{SharedIndex, SharedState, State};
use crate::updates::{IndexUpdate, Updates};
use crate::{Error, Result, api, connections};

/// The least number of characters of a token.
const SHORTEST_TOKEN: usize = 12;

/// Settings of a service.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Where it listens; port 0 takes any that is free.
    pub address: SocketAddr,
    /// The token that every request must have. Needed on addresses that other computers reach.
    pub token: Option<String>,
    /// Names by which it may be asked, beside `localhost` and addresses.
    pub host_names: Vec<String>,
    /// How many words of queries may wait or be searched for; more are refused.
    pub queued_words: usize,
    /// The longest time of an answer.
    pub timeout: Duration,
}

/// What a service answers with.
pub struct ServiceParts {
    /// The index with its model.
    pub searcher: Searcher,
    /// Encodes uploaded photos; none if the index does not know how.
    pub encoder: Option<EncodePhoto>,
    /// Updates the index; none without folders of photos.
    pub update: Option<IndexUpdate>,
}

/// A service that listens.
#[derive(Debug)]
pub struct Service {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    state: SharedState,
}

impl Service {
    /// Starts the threads and opens the address.
    ///
    /// # Errors
    /// When the address cannot be listened on, or can be reached from other computers and there is no
    /// token; when the token is refused, the index cannot be opened a second time, or the system gives no
    /// threads.
    pub fn bind(parts: ServiceParts, config: ServiceConfig) -> Result<Self> {
        let ServiceConfig { address, token, .. } = config;
        expect_token(address, token.as_deref())?;
        let index = Index::open(parts.searcher.index().folder())?;
        let metrics = Arc::new(Metrics::new());
        let searches = SearchQueue::start(
            parts.searcher,
            config.queued_words.max(1),
            Arc::clone(&metrics),
        )?;
        let state = Arc::new(State {
            searches,
            index: SharedIndex::new(index),
            encoder: parts.encoder.map(EncoderQueue::start).transpose()?,
            updates: Updates::new(parts.update),
            access: Access {
                token,
                host_names: config.host_names,
            },
            metrics,
            timeout: config.timeout,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("http")
            .enable_all()
            .build()?;
        let listen = |source| Error::Listen { address, source };
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            runtime,
            listener,
            address,
            state,
        })
    }

    /// The address of the page for a browser, with the token.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            ip => ip,
        };
        let address = SocketAddr::new(ip, self.address.port());
        match &self.state.access.token {
            None => format!("http://{address}/"),
            Some(token) => {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                query.append_pair("token", token);
                format!("http://{address}/?{}", query.finish())
            }
        }
    }

    /// Answers requests until `stop` is set, and then those that it has accepted before.
    pub fn run(self, stop: &'static AtomicBool) {
        let router = router(self.state);
        self.runtime
            .block_on(connections::serve(self.listener, router, stop));
        // A photo that is being encoded for nobody is not waited for.
        self.runtime.shutdown_background();
    }
}

/// Checks that others cannot ask without a token that is hard to guess.
fn expect_token(address: SocketAddr, token: Option<&str>) -> Result<()> {
    let Some(token) = token else {
        return match address.ip().is_loopback() {
            true => Ok(()),
            false => Err(Error::NoToken { address }),
        };
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match token.len() >= SHORTEST_TOKEN && token.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Error::Token {
            found: token.chars().count(),
            least: SHORTEST_TOKEN,
        }),
    }
}

/// Numbers requests, for the log.
#[derive(Debug, Clone, Default)]
struct RequestNumbers(Arc<AtomicU64>);

impl MakeRequestId for RequestNumbers {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        number.to_string().parse().ok().map(RequestId::new)
    }
}

/// Every route with what is done to each request, the outermost last.
pub(crate) fn router(state: SharedState) -> Router {
    let span = |request: &Request| {
        let id = request.extensions().get::<RequestId>();
        let id = id.and_then(|id| id.header_value().to_str().ok());
        // Neither queries nor the token in the address are logged.
        tracing::info_span!(
            "request",
            id = id.unwrap_or_default(),
            method = %request.method(),
            path = request.uri().path(),
        )
    };
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_response(DefaultOnResponse::new().level(tracing::Level::INFO));
    api::routes()
        .layer(from_fn_with_state(Arc::clone(&state), api::limit_time))
        .layer(from_fn_with_state(Arc::clone(&state), guard::check))
        .layer(from_fn_with_state(Arc::clone(&state), metrics::count))
        .layer(trace)
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(RequestNumbers::default()))
        .layer(from_fn(guard::forget_number))
        .with_state(state)
}
