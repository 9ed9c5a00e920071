//! `/v1/search`, `/v1/search/photo` and `/v1/explain`.
#![allow(unused_qualifications, reason = "utoipa writes some")]

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uard_search::answer::{Answer, PhotoResult};
use uard_search::query::Query;
use uard_search::{PhotoId, QueryPhoto, SearchRequest};
use utoipa::{IntoParams, ToSchema};

use super::Parameters;
use crate::encoder::{EncoderQueue, UPLOAD};
use crate::problem::{Code, Problem};
use crate::state::{SharedState, State};

/// How many photos are listed, unless another number is asked for.
const TOP: usize = 30;

/// The most photos of one answer. More are on the next pages.
const MOST: usize = 200;

/// The most bytes of an uploaded photo.
const PHOTO_BYTES: usize = 64 << 20;

/// The longest time in which an uploaded photo may arrive.
const UPLOAD_TIME: Duration = Duration::from_secs(20);

/// The types of photos that are read.
const PHOTO_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParameters {
    /// The query. It may be empty with `like`.
    #[serde(default)]
    q: String,
    /// The most photos to list.
    #[param(minimum = 1, maximum = 200, default = 30)]
    top: Option<usize>,
    /// The `cursor` of an earlier answer to the same query: lists the photos after it.
    #[param(pattern = "^[0-9]+-[0-9]+-[0-9a-f]+-[0-9]+$")]
    cursor: Option<String>,
    /// The number of a photo of the index, or the `like` of an answer to an uploaded photo: photos that
    /// look like it come first.
    #[param(pattern = "^(-?[0-9]+|upload-[0-9a-f]{32})$")]
    like: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PhotoSearchParameters {
    /// A query; photos that lack its words come later.
    #[serde(default)]
    q: String,
    /// The most photos to list.
    #[param(minimum = 1, maximum = 200, default = 30)]
    top: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainParameters {
    /// The number of a photo.
    photo: i64,
    /// The query. Its filters are ignored.
    #[param(min_length = 1)]
    q: String,
}

/// The answer to an uploaded photo.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PhotoAnswer {
    #[serde(flatten)]
    answer: Answer,
    /// The name of the photo: as `like` of `/v1/search`, it asks for other words or the next results
    /// without a second upload. The service keeps the last 64 photos.
    like: String,
}

/// Photos that show what a query says
#[utoipa::path(
    get,
    path = "/v1/search",
    tag = "search",
    params(SearchParameters),
    responses(
        (status = OK, body = Answer),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
        (status = TOO_MANY_REQUESTS),
        (status = NOT_IMPLEMENTED),
    )
)]
pub(super) async fn search(
    extract::State(state): extract::State<SharedState>,
    Parameters(parameters): Parameters<SearchParameters>,
) -> Result<Json<Answer>, Problem> {
    if parameters.like.is_none() {
        expect_query(&parameters.q)?;
    }
    let like = parameters.like.as_deref().map(|name| like(&state, name));
    let request = SearchRequest {
        top: top(parameters.top)?,
        after: parameters.cursor.as_deref().map(str::parse).transpose()?,
        like: like.transpose()?,
        text: parameters.q,
    };
    Ok(Json(state.searches.search(request).await?))
}

/// Photos that look like an uploaded photo
///
/// The body is the photo: JPEG, PNG, WebP or GIF, named in Content-Type, of at most 64 MiB.
#[utoipa::path(
    post,
    path = "/v1/search/photo",
    tag = "search",
    params(PhotoSearchParameters),
    request_body(
        content(
            (Vec<u8> = "image/jpeg"),
            (Vec<u8> = "image/png"),
            (Vec<u8> = "image/webp"),
            (Vec<u8> = "image/gif"),
        )
    ),
    responses(
        (status = OK, body = PhotoAnswer),
        (status = BAD_REQUEST),
        (status = PAYLOAD_TOO_LARGE),
        (status = UNSUPPORTED_MEDIA_TYPE),
        (status = UNPROCESSABLE_ENTITY),
        (status = TOO_MANY_REQUESTS),
        (status = NOT_IMPLEMENTED),
    )
)]
pub(super) async fn search_by_photo(
    extract::State(state): extract::State<SharedState>,
    Parameters(parameters): Parameters<PhotoSearchParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PhotoAnswer>, Problem> {
    let top = top(parameters.top)?;
    let encoder = encoder(&state)?;
    expect_photo(&headers)?;
    // A query that cannot be understood is refused before the photo is received.
    Query::parse(&parameters.q, &|_| true)?;
    let room = encoder.reserve()?;
    let received = timeout(UPLOAD_TIME, Limited::new(body, PHOTO_BYTES).collect()).await;
    let received = received.map_err(|_| {
        let seconds = UPLOAD_TIME.as_secs();
        Problem::new(
            Code::Slow,
            format!("the photo did not arrive within {seconds} seconds"),
        )
    })?;
    let bytes = received.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Problem::new(
            Code::TooLarge,
            format!("expected at most {PHOTO_BYTES} bytes"),
        ),
        None => Problem::new(Code::Photo, "the connection ended within the photo"),
    })?;
    let uploaded = encoder.upload(bytes.to_bytes(), room).await?;
    let request = SearchRequest {
        text: parameters.q,
        like: Some(QueryPhoto::Encoded(uploaded.encoded)),
        top,
        after: None,
    };
    Ok(Json(PhotoAnswer {
        answer: state.searches.search(request).await?,
        like: uploaded.name,
    }))
}

/// How one photo shows a query
#[utoipa::path(
    get,
    path = "/v1/explain",
    tag = "search",
    params(ExplainParameters),
    responses(
        (status = OK, body = PhotoResult),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
        (status = TOO_MANY_REQUESTS),
    )
)]
pub(super) async fn explain(
    extract::State(state): extract::State<SharedState>,
    Parameters(parameters): Parameters<ExplainParameters>,
) -> Result<Json<PhotoResult>, Problem> {
    expect_query(&parameters.q)?;
    let photo = PhotoId(parameters.photo);
    Ok(Json(state.searches.explain(photo, parameters.q).await?))
}

fn encoder(state: &State) -> Result<&EncoderQueue, Problem> {
    state.encoder.as_ref().ok_or_else(|| {
        let cause = "the photos of this index were added as features, by no encoder";
        Problem::new(Code::Unavailable, cause)
    })
}

/// The photo that the parameter `like` names.
fn like(state: &State, name: &str) -> Result<QueryPhoto, Problem> {
    if name.starts_with(UPLOAD) {
        return Ok(QueryPhoto::Encoded(encoder(state)?.kept(name)?));
    }
    let number = name.parse().map_err(|_| {
        let detail = format!("like: expected the number or name of a photo, found `{name}`");
        Problem::new(Code::Parameters, detail)
    })?;
    Ok(QueryPhoto::Indexed(PhotoId(number)))
}

fn expect_query(text: &str) -> Result<(), Problem> {
    match text.trim().is_empty() {
        true => Err(Problem::new(
            Code::Query,
            "the query is empty: say what photos should show",
        )),
        false => Ok(()),
    }
}

fn top(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(TOP) {
        top @ 1..=MOST => Ok(top),
        other => Err(Problem::new(
            Code::Parameters,
            format!("top: expected 1 to {MOST}, found {other}"),
        )),
    }
}

/// Checks type and size of a body before it is read.
fn expect_photo(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let found = text(header::CONTENT_TYPE).unwrap_or("none");
    let media_type = found.split(';').next().unwrap_or_default().trim();
    if !PHOTO_TYPES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media_type))
    {
        let expected = PHOTO_TYPES.join(", ");
        return Err(Problem::new(
            Code::MediaType,
            format!("Content-Type: expected {expected}, found {found}"),
        ));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    match length.is_some_and(|length: u64| length > PHOTO_BYTES as u64) {
        true => Err(Problem::new(
            Code::TooLarge,
            format!("expected at most {PHOTO_BYTES} bytes"),
        )),
        false => Ok(()),
    }
}
