//! The description of the service: `/openapi.json` for programs, `/docs` for people.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::guard::OPEN;
use crate::problem::Code;
use crate::state::SharedState;

/// Both descriptions; they do not change while the service runs.
pub(crate) fn routes(description: &OpenApi) -> Router<SharedState> {
    let value = completed(serde_json::to_value(description).unwrap_or_default());
    let json = value.to_string();
    let page = page(&value).into_string();
    let json =
        move || async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() };
    let page = move || async move {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    };
    Router::new()
        .route("/openapi.json", get(json))
        .route("/docs", get(page))
}

/// Adds what is the same for every operation: the responses for a request from another site, one that
/// takes too long and a failure; the token and its refusal; the meaning of each status, and the form of
/// errors. Photos are bytes, which OpenAPI describes by a content without a schema.
fn completed(mut description: Value) -> Value {
    description["components"]["securitySchemes"] =
        json!({ "token": { "type": "http", "scheme": "bearer" } });
    let paths = description["paths"].as_object_mut().into_iter().flatten();
    for (path, operations) in paths {
        let needs_token = !OPEN.contains(&path.as_str());
        for (_, operation) in operations.as_object_mut().into_iter().flatten() {
            if needs_token {
                operation["security"] = json!([{}, { "token": [] }]);
            }
            if let Some(body) = operation.get_mut("requestBody") {
                without_schema_of_photos(body);
            }
            let responses = operation["responses"].as_object_mut();
            let Some(responses) = responses else { continue };
            let common = [Code::Origin, Code::Timeout, Code::Failed];
            for code in common.into_iter().chain(needs_token.then_some(Code::Token)) {
                let status = code.status().as_u16().to_string();
                responses.entry(status).or_insert_with(|| json!({}));
            }
            for (status, response) in responses {
                complete_response(status, response);
            }
        }
    }
    description
}

/// Adds what its status means, and the form of errors.
fn complete_response(status: &str, response: &mut Value) {
    let status = status.parse::<StatusCode>().unwrap_or_default();
    let code = Code::ALL.into_iter().find(|code| code.status() == status);
    if response["description"].as_str().is_none_or(str::is_empty) {
        let of_success = || status.canonical_reason().unwrap_or_default();
        response["description"] = code.map_or_else(of_success, Code::title).into();
    }
    if code.is_some() {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        response["content"] = json!({ "application/problem+json": { "schema": schema } });
    }
    without_schema_of_photos(response);
}

fn without_schema_of_photos(body: &mut Value) {
    let content = body.get_mut("content").and_then(Value::as_object_mut);
    for (media_type, described) in content.into_iter().flatten() {
        if media_type.starts_with("image/") {
            *described = json!({});
        }
    }
}

fn page(description: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "uard: what can be asked" }
                link rel="stylesheet" href="/page.css";
            }
            body.docs {
                main {
                    h1 { "What can be asked" }
                    p { (text(&description["info"]["description"])) }
                    p { "For programs: " a href="/openapi.json" { "/openapi.json" } }
                    @for (path, operations) in description["paths"].as_object().into_iter().flatten() {
                        @for (method, operation) in operations.as_object().into_iter().flatten() {
                            (self::operation(path, method, operation))
                        }
                    }
                    h2 { "Errors" }
                    dl {
                        @for code in Code::ALL {
                            dt id=(code.name()) { code { (code.name()) } " " (code.status().as_u16()) }
                            dd { (code.title()) ": " (code.advice()) "." }
                        }
                    }
                }
            }
        }
    }
}

fn operation(path: &str, method: &str, operation: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    html! {
        section {
            h2 { code { (method.to_uppercase()) " " (path) } }
            p { (text(&operation["summary"])) ". " (text(&operation["description"])) }
            @if let Some(parameters) = operation["parameters"].as_array() {
                dl {
                    @for parameter in parameters {
                        dt { code { (text(&parameter["name"])) } }
                        dd { (text(&parameter["description"])) }
                    }
                }
            }
            p {
                "Answers: "
                @for (at, status) in operation["responses"].as_object().into_iter().flatten().map(|it| it.0).enumerate() {
                    @if at > 0 { ", " }
                    (status)
                }
            }
        }
    }
}
