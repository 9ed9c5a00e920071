//! What the service counts, in the text format of OpenMetrics, which Prometheus reads.

use std::fmt;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::state::SharedState;

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of one service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    search_seconds: Histogram,
    words: Counter,
    queued_words: Gauge,
    photos: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("uard");
        let requests = Family::default();
        registry.register("requests", "Answered requests", requests.clone());
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "Time from a request to the start of its response";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        let search_seconds = histogram();
        let help = "Time of a batch of searches, without waiting";
        registry.register_with_unit("search", help, Unit::Seconds, search_seconds.clone());
        let words = Counter::default();
        registry.register(
            "searched_words",
            "Words that were searched for",
            words.clone(),
        );
        let queued_words = Gauge::default();
        let help = "Words that wait or are searched for";
        registry.register("queued_words", help, queued_words.clone());
        let photos = Gauge::default();
        registry.register("photos", "Photos in the index", photos.clone());
        Self {
            registry,
            requests,
            seconds,
            search_seconds,
            words,
            queued_words,
            photos,
        }
    }

    /// Counts a batch of searches.
    pub(crate) fn searched(&self, words: usize, time: Duration) {
        self.words.inc_by(words as u64);
        self.search_seconds.observe(time.as_secs_f64());
    }

    /// All values as text, with those that are measured now.
    pub(crate) fn text(&self, queued_words: usize, photos: usize) -> Result<String, fmt::Error> {
        self.queued_words.set(queued_words as i64);
        self.photos.set(photos as i64);
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry)?;
        Ok(encoded)
    }
}

/// From a millisecond to half a minute.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// Counts every request by its route and status. Requests that no route takes are counted as one.
pub(crate) async fn count(
    State(state): State<SharedState>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let metrics = &state.metrics;
    let seconds = begun.elapsed().as_secs_f64();
    let label = Route {
        route: route.clone(),
    };
    metrics.seconds.get_or_create(&label).observe(seconds);
    let answered = Answered { route, status };
    metrics.requests.get_or_create(&answered).inc();
    response
}
