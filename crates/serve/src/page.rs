//! The page, whose files are part of the program.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::{Code, Problem};

const HTML: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");

/// `GET /`.
pub(crate) async fn page() -> Response {
    file("text/html; charset=utf-8", HTML)
}

/// `GET /page.css` and `GET /page.js`; browsers also ask for an icon.
pub(crate) async fn page_file(name: Result<Path<String>, PathRejection>) -> Response {
    // Names that are not UTF-8 lead to nothing, as all other names.
    let name = name.map_or_else(|_| "…".to_owned(), |Path(name)| name);
    match name.as_str() {
        "page.css" => file("text/css; charset=utf-8", STYLE),
        "page.js" => file("text/javascript; charset=utf-8", SCRIPT),
        "favicon.ico" => StatusCode::NO_CONTENT.into_response(),
        _ => Problem::new(Code::NotFound, format!("/{name}")).into_response(),
    }
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (StatusCode::OK, headers, text).into_response()
}
