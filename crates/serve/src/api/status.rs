//! `/v1/index`, `/health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uard_search::{FilterValues, Index};
use utoipa::ToSchema;

use crate::metrics::MEDIA_TYPE;
use crate::problem::{Code, Problem};
use crate::state::SharedState;

/// What the index holds, and what this service can do with it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndexStatus {
    /// The number of photos.
    photos: usize,
    /// The number of files that could not be read.
    unreadable: usize,
    /// Whether an update is running.
    updating: bool,
    /// Whether the service knows folders of photos to update the index from.
    can_update: bool,
    /// Whether uploaded photos can be searched by.
    can_encode: bool,
    /// The learned threshold of the model.
    threshold: f64,
    /// The encoder of photos.
    encoder: String,
    /// The cameras of the photos.
    cameras: Vec<String>,
    /// The date of the first photo that has one.
    first_date: Option<String>,
    /// The date of the last photo.
    last_date: Option<String>,
    /// The number of photos with coordinates.
    with_place: usize,
}

/// What the index holds
#[utoipa::path(get, path = "/v1/index", tag = "index", responses((status = OK, body = IndexStatus)))]
pub(super) async fn index(State(state): State<SharedState>) -> Result<Json<IndexStatus>, Problem> {
    let read = |index: &Index| -> uard_search::Result<_> {
        let model = index.model().clone();
        Ok((index.size()?, index.filter_values()?, model))
    };
    let (size, values, model) = state.index.read(read).await?;
    let FilterValues { cameras, .. } = values;
    Ok(Json(IndexStatus {
        photos: size.photos,
        unreadable: size.unreadable,
        updating: state.updates.is_running(),
        can_update: state.updates.are_possible(),
        can_encode: state.encoder.is_some(),
        threshold: model.threshold,
        encoder: model.encoder,
        cameras,
        first_date: values.first_date.map(|date| date.to_string()),
        last_date: values.last_date.map(|date| date.to_string()),
        with_place: values.with_coordinates,
    }))
}

/// Updates the index from the folders that the service was started with
///
/// The update goes on after the response; `updating` says how long.
#[utoipa::path(
    post,
    path = "/v1/index",
    tag = "index",
    responses(
        (status = ACCEPTED),
        (status = CONFLICT),
        (status = NOT_IMPLEMENTED),
    )
)]
pub(super) async fn update(State(state): State<SharedState>) -> Result<StatusCode, Problem> {
    state.updates.start()?;
    Ok(StatusCode::ACCEPTED)
}

/// Whether the service lives
#[utoipa::path(get, path = "/health", tag = "service", responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether the service can answer
#[utoipa::path(
    get,
    path = "/ready",
    tag = "service",
    responses(
        (status = OK, body = String, content_type = "text/plain"),
        (status = INTERNAL_SERVER_ERROR),
    )
)]
pub(super) async fn ready(State(state): State<SharedState>) -> Result<&'static str, Problem> {
    if !state.searches.is_running() {
        return Err(Problem::new(
            Code::Failed,
            "the thread that searches has ended",
        ));
    }
    state.index.read(Index::size).await?;
    Ok("ready\n")
}

/// Counters in the text format of OpenMetrics
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = OK, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(state): State<SharedState>) -> Result<Response, Problem> {
    let size = state.index.read(Index::size).await?;
    let text = state.metrics.text(state.searches.work(), size.photos);
    let text = text.map_err(|error| Problem::failed(&error))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}
