//! Errors as the service sends them: JSON of RFC 9457.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong; the same text as [`Problem::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The query cannot be understood.
    Query,
    /// A parameter is missing, unknown or out of range.
    Parameters,
    /// The token is missing or wrong.
    Token,
    /// The request comes from the page of another site.
    Origin,
    /// There is nothing at this address.
    NotFound,
    /// The index holds no photo of this number.
    NoPhoto,
    /// No uploaded photo of this name is kept.
    NoUpload,
    /// The method is not allowed at this address.
    Method,
    /// The file of a photo is gone, or has changed since it was indexed.
    Gone,
    /// Another process or request changes the index.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body is of a type that is not read.
    MediaType,
    /// The body does not arrive in time.
    Slow,
    /// The uploaded photo cannot be read.
    Photo,
    /// The service has as many requests as it can answer in time.
    Busy,
    /// The answer took too long.
    Timeout,
    /// This service cannot do it: it was started without what this needs.
    Unavailable,
    /// The service failed.
    Failed,
}

impl Code {
    /// Every code, for the description of the service.
    pub(crate) const ALL: [Self; 18] = [
        Self::Query,
        Self::Parameters,
        Self::Token,
        Self::Origin,
        Self::NotFound,
        Self::NoPhoto,
        Self::NoUpload,
        Self::Method,
        Self::Gone,
        Self::Conflict,
        Self::TooLarge,
        Self::MediaType,
        Self::Slow,
        Self::Photo,
        Self::Busy,
        Self::Timeout,
        Self::Unavailable,
        Self::Failed,
    ];

    /// The status of the response.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Query | Self::Parameters => StatusCode::BAD_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoPhoto | Self::NoUpload => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Gone => StatusCode::GONE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Photo => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unavailable => StatusCode::NOT_IMPLEMENTED,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What went wrong, in words that are the same each time.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Query => "The query cannot be understood",
            Self::Parameters => "A parameter is missing, unknown or out of range",
            Self::Token => "The token is missing or wrong",
            Self::Origin => "Pages of other sites may not ask this service",
            Self::NotFound => "There is nothing at this address",
            Self::NoPhoto => "The index holds no photo of this number",
            Self::NoUpload => "No uploaded photo of this name is kept",
            Self::Method => "The method is not allowed at this address",
            Self::Gone => "The file is gone, or has changed since it was indexed",
            Self::Conflict => "The index is being changed already",
            Self::TooLarge => "The body is too large",
            Self::MediaType => "The body is not a photo of a type that is read",
            Self::Slow => "The body does not arrive in time",
            Self::Photo => "The photo cannot be read",
            Self::Busy => "The service has too many requests",
            Self::Timeout => "The answer took too long",
            Self::Unavailable => "This service was started without what this needs",
            Self::Failed => "The service failed",
        }
    }

    /// What the caller can do about it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Query => "correct the query; /docs shows how queries are written",
            Self::Parameters | Self::NotFound | Self::Method => "see /docs",
            Self::Token => {
                "open the address that `uard serve` printed, or send `Authorization: Bearer TOKEN`"
            }
            Self::Origin => "ask from the service's own page, or from a program",
            Self::NoPhoto => "search again: the photo may have been removed",
            Self::NoUpload => "upload the photo again",
            Self::Gone => "update the index",
            Self::Conflict => "wait until the other change has ended",
            Self::TooLarge | Self::Slow => "send a smaller photo",
            Self::MediaType => {
                "send image/jpeg, image/png, image/webp or image/gif, and name it in Content-Type"
            }
            Self::Photo => "send a whole JPEG, PNG, WebP or GIF",
            Self::Busy | Self::Timeout => "ask again later, at the time that Retry-After says",
            Self::Unavailable => "see the help of `uard serve`",
            Self::Failed => "see the log of the service, under the request's x-request-id",
        }
    }
}

/// An error in the form of RFC 9457, with media type `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: String,
    pub(crate) code: Code,
    /// What the caller can do.
    advice: &'static str,
    /// Seconds after which to ask again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/docs#{}", code.name()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            advice: code.advice(),
            retry_after: None,
        }
    }

    /// A request that may be repeated after some seconds.
    pub(crate) fn retry(code: Code, seconds: u64, detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(code, detail)
        }
    }

    /// The service failed. The cause is logged and not sent: it may name files.
    pub(crate) fn failed(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("{cause}");
        Self::new(Code::Failed, "the cause is in the log of the service")
    }
}

impl Code {
    /// The code as text.
    pub(crate) fn name(self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<uard_search::Error> for Problem {
    fn from(error: uard_search::Error) -> Self {
        use uard_search::Error;
        match error {
            Error::Query { .. } => Self::new(Code::Query, error.to_string()),
            Error::Cursor { .. } => Self::new(Code::Parameters, error.to_string()),
            Error::NoPhoto { id, .. } => Self::new(Code::NoPhoto, format!("no photo {id}")),
            Error::Changed { id, .. } => {
                Self::new(Code::Gone, format!("the file of photo {id} has changed"))
            }
            Error::Locked { .. } => {
                Self::new(Code::Conflict, "another process writes to the index")
            }
            error => Self::failed(&error),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Code::Parameters, rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Code::Parameters, rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_and_an_error_status() {
        let names = Code::ALL.map(Code::name);
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), Code::ALL.len());
        for code in Code::ALL {
            let status = code.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{code:?}"
            );
        }
    }
}
