//! `/v1/photos/{id}`, thumbnails and originals.

use std::io::{Read, Seek};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_util::io::ReaderStream;
use uard_search::{Index, IndexedPhoto, PhotoId, Writer};
use utoipa::ToSchema;

use super::PathPart;
use crate::problem::{Code, Problem};
use crate::state::SharedState;

/// A browser asks again before it uses what it has kept: a photo may change.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// How many bytes of a file are read to tell its type.
const MAGIC: usize = 12;

/// A photo of the index.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PhotoDetails {
    id: i64,
    /// Its file, on the computer of the service.
    path: String,
    /// Width of the upright photo, in pixels.
    width: u32,
    /// Height of the upright photo, in pixels.
    height: u32,
    /// The size of the file.
    bytes: u64,
    /// When it was taken, in the time of the camera, as exactly as it is known.
    date: Option<String>,
    camera: Option<String>,
    /// In degrees, north is positive.
    latitude: Option<f64>,
    /// In degrees, east is positive.
    longitude: Option<f64>,
}

impl From<IndexedPhoto> for PhotoDetails {
    fn from(photo: IndexedPhoto) -> Self {
        let metadata = photo.metadata;
        Self {
            id: photo.id.0,
            path: photo.file.path.to_string_lossy().into_owned(),
            width: metadata.width,
            height: metadata.height,
            bytes: photo.file.bytes,
            date: metadata.date.map(|date| date.to_string()),
            camera: metadata.camera,
            latitude: metadata.coordinates.map(|place| place.latitude),
            longitude: metadata.coordinates.map(|place| place.longitude),
        }
    }
}

/// What the index knows of a photo
#[utoipa::path(
    get,
    path = "/v1/photos/{id}",
    tag = "photos",
    params(("id" = i64, Path, description = "The number of the photo")),
    responses(
        (status = OK, body = PhotoDetails),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
    )
)]
pub(super) async fn photo(
    State(state): State<SharedState>,
    PathPart(id): PathPart<i64>,
) -> Result<Json<PhotoDetails>, Problem> {
    let read = move |index: &Index| index.expect_photo(PhotoId(id));
    Ok(Json(state.index.read(read).await?.into()))
}

/// Removes a photo from the index
///
/// The file stays. The next update of its folder would add it again.
#[utoipa::path(
    delete,
    path = "/v1/photos/{id}",
    tag = "photos",
    params(("id" = i64, Path, description = "The number of the photo")),
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
        (status = CONFLICT),
    )
)]
pub(super) async fn remove(
    State(state): State<SharedState>,
    PathPart(id): PathPart<i64>,
) -> Result<StatusCode, Problem> {
    let remove = move |index: &Index| {
        let path = index.expect_photo(PhotoId(id))?.file.path;
        Writer::open(index.folder())?.remove(&[path])
    };
    state.index.read(remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A small JPEG of a photo
///
/// Its longest side has at most 256 pixels.
#[utoipa::path(
    get,
    path = "/v1/photos/{id}/thumbnail",
    tag = "photos",
    params(("id" = i64, Path, description = "The number of the photo")),
    responses(
        (status = OK, body = Vec<u8>, content_type = "image/jpeg"),
        (status = NOT_MODIFIED, description = "As the browser has it"),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
    )
)]
pub(super) async fn thumbnail(
    State(state): State<SharedState>,
    PathPart(id): PathPart<i64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = PhotoId(id);
    let read = move |index: &Index| -> uard_search::Result<_> {
        let photo = index.expect_photo(id)?;
        Ok((photo.content, index.preview(id)?))
    };
    let (content, preview) = state.index.read(read).await?;
    let missing = || Problem::new(Code::NoPhoto, format!("photo {id} has no thumbnail"));
    let preview = preview.filter(|preview| !preview.thumbnail.is_empty());
    let preview = preview.ok_or_else(missing)?;
    // A photo that changes keeps its number and gets another hash.
    let tag = format!("\"{}\"", uard_files::hex(&content.0[..16]));
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|known| known.to_str().ok());
    let mut known = known.flat_map(|tags| tags.split(',')).map(str::trim);
    let is_known = known.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let tag = [(header::ETAG, tag)];
    let cache = [(header::CACHE_CONTROL, NO_CACHE)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, tag, cache).into_response());
    }
    let media_type = [(header::CONTENT_TYPE, "image/jpeg")];
    Ok((tag, cache, media_type, preview.thumbnail).into_response())
}

/// The file of a photo
///
/// Only as long as it is the file that was indexed.
#[utoipa::path(
    get,
    path = "/v1/photos/{id}/original",
    tag = "photos",
    params(("id" = i64, Path, description = "The number of the photo")),
    responses(
        (status = OK, body = Vec<u8>, content_type = "image/*"),
        (status = BAD_REQUEST),
        (status = NOT_FOUND),
        (status = GONE),
    )
)]
pub(super) async fn original(
    State(state): State<SharedState>,
    PathPart(id): PathPart<i64>,
) -> Result<Response, Problem> {
    let id = PhotoId(id);
    let open = move |index: &Index| -> Result<_, Problem> {
        let mut file = index.open_original(id)?;
        let mut start = Vec::with_capacity(MAGIC);
        let read = (&file).take(MAGIC as u64).read_to_end(&mut start);
        read.and_then(|_| file.rewind())
            .map_err(|error| Problem::failed(&error))?;
        Ok((start, file))
    };
    let (start, file) = state.index.read(open).await?;
    let Some(media_type) = media_type(&start) else {
        let detail = format!("the file of photo {id} is no photo");
        return Err(Problem::new(Code::Gone, detail));
    };
    let file = tokio::fs::File::from_std(file);
    let length = file.metadata().await;
    let length = length.map_err(|error| Problem::failed(&error))?.len();
    let mut response = Body::from_stream(ReaderStream::new(file)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(response)
}

/// The type of a photo by its first bytes. Nothing else is sent, whatever its name.
fn media_type(start: &[u8]) -> Option<HeaderValue> {
    let found = match start {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        _ => return None,
    };
    Some(HeaderValue::from_static(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_photos_have_a_type() {
        let found = |start: &[u8]| media_type(start).map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(found(b"\xff\xd8\xff\xe0").as_deref(), Some("image/jpeg"));
        assert_eq!(
            found(b"RIFF\x00\x00\x00\x00WEBPVP8 ").as_deref(),
            Some("image/webp")
        );
        for other in [
            &b""[..],
            b"<html>",
            b"RIFF\x00\x00\x00\x00WAVE",
            b"%PDF-1.7",
        ] {
            assert_eq!(found(other), None);
        }
    }
}
