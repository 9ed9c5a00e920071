//! Who may ask: the checks of Host, Origin and token, and the headers of every response.
//!
//! A browser lets the page of any site send requests to `127.0.0.1`. So a request is refused if its Host
//! names neither this service nor an address (a name of somebody else that resolves to this computer: DNS
//! rebinding), or if the browser says that the page of another site sent it. Programs send no Origin.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use subtle::ConstantTimeEq;

use crate::problem::{Code, Problem};
use crate::state::SharedState;

/// The beginning of the name of the cookie that holds the token in a browser. The port follows, because
/// cookies are those of a host, whatever the port.
const COOKIE: &str = "uard_token_";

/// What may be asked without a token: whether the service lives.
pub(crate) const OPEN: [&str; 2] = ["/health", "/ready"];

/// Headers of every response: scripts, styles and requests of the page itself only, in no frame of
/// another site.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Who may ask a service.
#[derive(Clone)]
pub(crate) struct Access {
    /// The token that every request must have; none on an address that only this computer reaches.
    pub(crate) token: Option<String>,
    /// Names of this computer by which it may be asked, beside localhost and addresses.
    pub(crate) host_names: Vec<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Lets a request pass, or refuses it.
pub(crate) async fn check(
    State(state): State<SharedState>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match state.access.admit(&request) {
        Ok(Admission::Passed) => next.run(request).await,
        Ok(Admission::SignedIn(response)) => response,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Removes the request id that a client sends, which would be sent back and logged: the service numbers
/// requests itself.
pub(crate) async fn forget_number(mut request: Request, next: Next) -> Response {
    request.headers_mut().remove("x-request-id");
    next.run(request).await
}

enum Admission {
    Passed,
    /// The token came in the address of the page; the response moves it into a cookie.
    SignedIn(Response),
}

impl Access {
    fn admit(&self, request: &Request) -> Result<Admission, Problem> {
        let (headers, uri) = (request.headers(), request.uri());
        let host = host(headers, uri)?;
        self.expect_host(host)?;
        expect_own_page(request, host)?;
        let Some(token) = &self.token else {
            return Ok(Admission::Passed);
        };
        if OPEN.contains(&uri.path()) || given_tokens(headers).any(|given| is_equal(given, token)) {
            return Ok(Admission::Passed);
        }
        let opens_page = uri.path() == "/" && request.method() == Method::GET;
        match token_in_address(uri).filter(|given| opens_page && is_equal(given, token)) {
            Some(given) => Ok(Admission::SignedIn(signed_in(&given, port(host)))),
            None => Err(Problem::new(Code::Token, "the request has no valid token")),
        }
    }

    /// `host` may have a port.
    fn expect_host(&self, host: &str) -> Result<(), Problem> {
        let (name, _) = name_and_port(host);
        let is_own = |own: &String| own.eq_ignore_ascii_case(name);
        if is_address(name)
            || name.eq_ignore_ascii_case("localhost")
            || self.host_names.iter().any(is_own)
        {
            return Ok(());
        }
        Err(Problem::new(
            Code::Origin,
            format!("`{name}` is no name of this service; `uard serve --host-name` adds one"),
        ))
    }
}

/// The host that the request is for.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Result<&'a str, Problem> {
    let mut named = headers.get_all(header::HOST).iter();
    match (
        named.next().map(HeaderValue::to_str),
        named.next(),
        uri.authority(),
    ) {
        (Some(Ok(host)), None, _) => Ok(host),
        (None, None, Some(authority)) => Ok(authority.as_str()),
        _ => Err(Problem::new(
            Code::Origin,
            "the request has not one valid Host",
        )),
    }
}

/// The name of a host, and its port, which is empty if there is none.
fn name_and_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name, port),
        _ => (host, ""),
    }
}

fn port(host: &str) -> &str {
    name_and_port(host).1
}

fn is_address(name: &str) -> bool {
    let of_six = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match of_six {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Refuses what the page of another site sent. A link on such a page may open the page of this service.
fn expect_own_page(request: &Request, host: &str) -> Result<(), Problem> {
    let text = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap_or("unreadable"))
    };
    let is_own_origin = |origin: &str| {
        let address = origin.strip_prefix("http://");
        let address = address.or_else(|| origin.strip_prefix("https://"));
        address.is_some_and(|address| address.eq_ignore_ascii_case(host))
    };
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if let Some(other) = origins.find(|origin| !origin.to_str().is_ok_and(is_own_origin)) {
        let detail = format!(
            "the request comes from {}",
            String::from_utf8_lossy(other.as_bytes())
        );
        return Err(Problem::new(Code::Origin, detail));
    }
    let opens_page = request.method() == Method::GET
        && request.uri().path() == "/"
        && text("sec-fetch-mode") == Some("navigate");
    match text("sec-fetch-site") {
        Some("cross-site" | "same-site") if !opens_page => {
            let detail = "the request comes from the page of another site";
            Err(Problem::new(Code::Origin, detail))
        }
        _ => Ok(()),
    }
}

/// The token of a program, and those that a browser has signed in with.
fn given_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let of_program = headers.get(header::AUTHORIZATION);
    let of_program = of_program.and_then(|value| value.to_str().ok()?.split_once(' '));
    let of_program = of_program.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';'));
    let of_browser =
        pairs.filter_map(|pair| Some(pair.trim().strip_prefix(COOKIE)?.split_once('=')?.1));
    of_program
        .map(|(_, token)| token)
        .into_iter()
        .chain(of_browser)
}

fn token_in_address(uri: &Uri) -> Option<String> {
    let query = url::form_urlencoded::parse(uri.query()?.as_bytes());
    let mut tokens = query.filter(|(name, _)| name == "token");
    tokens.next().map(|(_, value)| value.into_owned())
}

fn is_equal(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

fn signed_in(token: &str, port: &str) -> Response {
    let mut response = Redirect::to("/").into_response();
    let cookie =
        format!("{COOKIE}{port}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const TOKEN: &str = "4f1c9a77e0b2";

    fn access(token: Option<&str>) -> Access {
        Access {
            token: token.map(str::to_owned),
            host_names: vec!["nas.home".to_owned()],
        }
    }

    fn request(uri: &str, headers: &[[&str; 2]]) -> Request {
        let mut request = Request::builder().uri(uri);
        for [name, value] in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn refusal(access: &Access, request: &Request) -> Option<Code> {
        access.admit(request).err().map(|problem| problem.code)
    }

    #[test]
    fn only_own_names_and_addresses_are_hosts() {
        let access = access(None);
        for own in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8765",
            "[::1]:8765",
            "192.168.1.4",
            "nas.home:80",
        ] {
            let found = refusal(&access, &request("/v1/search", &[["host", own]]));
            assert_eq!(found, None, "{own}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "]]::1[[",
            "127.0.0.1:99999999",
        ] {
            let found = refusal(&access, &request("/v1/search", &[["host", other]]));
            assert_eq!(found, Some(Code::Origin), "{other}");
        }
        assert_eq!(refusal(&access, &request("/", &[])), Some(Code::Origin));
        let two = [["host", "localhost"], ["host", "evil.example"]];
        assert_eq!(refusal(&access, &request("/", &two)), Some(Code::Origin));
    }

    #[test]
    fn pages_of_other_sites_may_open_the_page_and_ask_nothing() {
        let access = access(None);
        let asked =
            |uri, header| refusal(&access, &request(uri, &[["host", "localhost:1"], header]));
        for origin in ["http://localhost:1", "HTTP://x"] {
            let expected = origin.starts_with("HTTP").then_some(Code::Origin);
            assert_eq!(asked("/v1/search", ["origin", origin]), expected);
        }
        for origin in [
            "http://localhost:2",
            "http://evil.example",
            "null",
            "file://",
        ] {
            assert_eq!(asked("/v1/search", ["origin", origin]), Some(Code::Origin));
        }
        assert_eq!(asked("/v1/search", ["sec-fetch-site", "same-origin"]), None);
        assert_eq!(
            asked("/v1/search", ["sec-fetch-site", "cross-site"]),
            Some(Code::Origin)
        );
        let link = [
            ["host", "localhost:1"],
            ["sec-fetch-site", "cross-site"],
            ["sec-fetch-mode", "navigate"],
        ];
        assert_eq!(refusal(&access, &request("/?q=dog", &link)), None);
        assert_eq!(
            refusal(&access, &request("/v1/index", &link)),
            Some(Code::Origin)
        );
    }

    #[test]
    fn a_token_comes_from_a_program_a_cookie_or_the_address_of_the_page() {
        let access = access(Some(TOKEN));
        let host = ["host", "localhost"];
        let asked = |uri, header| refusal(&access, &request(uri, &[host, header]));
        let bearer = format!("Bearer {TOKEN}");
        let cookie = format!("a=1; {COOKIE}1=other; {COOKIE}8765={TOKEN}");
        let both = ["authorization", "Basic dTpw"];
        assert_eq!(asked("/v1/search", ["authorization", &bearer]), None);
        assert_eq!(asked("/v1/search", ["cookie", &cookie]), None);
        let in_front = request("/v1/search", &[host, both, ["cookie", &cookie]]);
        assert_eq!(refusal(&access, &in_front), None);
        let small = bearer.replace("Bearer", "bearer");
        assert_eq!(asked("/v1/search", ["authorization", &small]), None);
        for wrong in ["Bearer ", "Bearer 4f1c9a77e0b3", TOKEN] {
            assert_eq!(
                asked("/v1/search", ["authorization", wrong]),
                Some(Code::Token)
            );
        }
        let in_address = format!("?token={TOKEN}");
        let wrong = asked(&format!("/v1/search{in_address}"), ["accept", "*/*"]);
        assert_eq!(wrong, Some(Code::Token));
        let Ok(Admission::SignedIn(page)) =
            access.admit(&request(&format!("/{in_address}"), &[host]))
        else {
            panic!("the page is opened");
        };
        let cookie = page.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains(TOKEN) && cookie.contains("HttpOnly; SameSite=Strict"));
        assert_eq!(refusal(&access, &request("/", &[host])), Some(Code::Token));
        assert_eq!(refusal(&access, &request("/health", &[host])), None);
    }
}
