//! What can be asked, with its description for OpenAPI.

mod photos;
mod search;
mod status;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::{Code, Problem};
use crate::state::SharedState;
use crate::{describe, page};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "uard",
        description = "Photo search that says of each word whether a photo shows it, and where. \
                       A query: `dog` (photos that show it come first), `\"red ball\"` (one region shows \
                       both), `+dog` (required), `-cat` or `not a cat` (excluded), \
                       `date:2024-05..2024-07`, `camera:NAME`, `folder:DIR`, `has:place`. Errors are \
                       `application/problem+json` (RFC 9457) with a `code`.",
    ),
    components(schemas(Problem)),
    tags(
        (name = "search", description = "Photos for a query, and the evidence"),
        (name = "photos", description = "Single photos"),
        (name = "index", description = "What the index holds"),
        (name = "service", description = "For programs that watch the service"),
    )
)]
struct Description;

/// Parameters in the address of a request.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Problem))]
struct Parameters<T>(T);

/// A part of the path of a request.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
struct PathPart<T>(T);

/// All routes.
pub(crate) fn routes() -> Router<SharedState> {
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(search::search))
        .routes(routes!(search::search_by_photo))
        .routes(routes!(search::explain))
        .routes(routes!(photos::photo, photos::remove))
        .routes(routes!(photos::thumbnail))
        .routes(routes!(photos::original))
        .routes(routes!(status::index, status::update))
        .routes(routes!(status::health))
        .routes(routes!(status::ready))
        .routes(routes!(status::metrics))
        .split_for_parts();
    router
        .merge(describe::routes(&description))
        .route("/", get(page::page))
        .route("/{file}", get(page::page_file))
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::Method, "see /docs for the methods of each address").into_response()
        })
        .fallback(|request: Request| async move {
            Problem::new(Code::NotFound, request.uri().path().to_owned()).into_response()
        })
}

/// Ends requests that take too long. What they wait for sees that nobody waits, and is left out.
pub(crate) async fn limit_time(
    State(state): State<SharedState>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(state.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = state.timeout.as_secs();
            let detail = format!("no answer within {seconds} seconds");
            Problem::retry(Code::Timeout, 5, detail).into_response()
        }
    }
}
