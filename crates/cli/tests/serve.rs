//! Tests of `uard serve` over sockets; the tests of the search and of the index call them with what they
//! have made.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and says what it leaves out"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::uard::{refused, uard};

const TOKEN: &str = "a-token-of-a-test";

/// A service that runs until the test ends.
pub struct Served {
    process: Child,
    /// Its address, without a path.
    address: String,
    agent: Agent,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    /// Starts `uard serve` on a free port, in a folder with an index `index`.
    pub fn start(folder: &Path, more: &[&str]) -> Self {
        let mut process = command(folder, more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut printed = BufReader::new(process.stdout.take().unwrap());
        printed.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("the page is at ").unwrap();
        let address = url.split("/?").next().unwrap().trim_end_matches('/');
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self {
            process,
            address: address.to_owned(),
            agent: agent.into(),
        }
    }

    fn get(&self, path: &str, headers: &[[&str; 2]]) -> Response<Body> {
        let mut request = self.agent.get(format!("{}{path}", self.address));
        for [name, value] in headers {
            request = request.header(*name, *value);
        }
        request.call().unwrap()
    }

    fn post(&self, path: &str, media_type: &str, body: &[u8]) -> Response<Body> {
        let request = self.agent.post(format!("{}{path}", self.address));
        request.content_type(media_type).send(body).unwrap()
    }

    /// The answer to a query, with further parameters.
    fn search(&self, query: &str, more: &str) -> Value {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        json(self.get(&format!("/v1/search?q={query}{more}"), &[]), 200)
    }

    /// Asserts that a request is refused with this code, and returns the problem.
    fn problem(response: Response<Body>, status: u16, code: &str) -> Value {
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let problem = json(response, status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = uard();
    command.current_dir(folder).env_remove("UARD_TOKEN");
    command.args(["serve", "--index", "index"]);
    if !more.contains(&"--address") {
        command.args(["--address", "127.0.0.1:0"]);
    }
    command.args(more);
    command
}

fn json(mut response: Response<Body>, status: u16) -> Value {
    let text = response.body_mut().read_to_string().unwrap();
    assert_eq!(response.status(), status, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn bytes(mut response: Response<Body>) -> Vec<u8> {
    assert_eq!(response.status(), 200);
    response.body_mut().read_to_vec().unwrap()
}

fn ids(answer: &Value) -> Vec<i64> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["id"].as_i64().unwrap())
        .collect()
}

/// `searched` is what `uard search` answers to each of some queries; `words` are two that some photos show
/// and others do not.
pub fn answers_as_a_search(folder: &Path, searched: &[Value], words: [&str; 2]) {
    let served = Served::start(folder, &[]);
    let text = |answer: &Value| answer["query"].as_str().unwrap().to_owned();
    for expected in searched {
        assert_eq!(&served.search(&text(expected), "&top=100"), expected);
    }
    // Many at once are answered together, and no answer differs.
    thread::scope(|scope| {
        for expected in searched.iter().cycle().take(24) {
            let served = &served;
            scope.spawn(move || {
                loop {
                    let query: String =
                        url::form_urlencoded::byte_serialize(text(expected).as_bytes()).collect();
                    let response = served.get(&format!("/v1/search?top=100&q={query}"), &[]);
                    if response.status() == 429 {
                        assert_eq!(response.headers()["retry-after"], "1");
                        thread::sleep(Duration::from_millis(50));
                        continue;
                    }
                    return assert_eq!(&json(response, 200), expected);
                }
            });
        }
    });
    let all = &searched[0];
    pages_are_parts_of_the_whole(&served, all);
    let first = ids(all)[0];
    let explained = format!(
        "/v1/explain?photo={first}&q={}",
        text(all).replace(' ', "+")
    );
    let explained = json(served.get(&explained, &[]), 200);
    assert_eq!(explained, all["results"][0]);
    let alike = served.search("", &format!("&like={first}"));
    assert!(!ids(&alike).contains(&first) && !ids(&alike).is_empty());
    for (path, code) in [
        ("/v1/search?q=+", "query"),
        ("/v1/search?q=dog+OR+cat", "query"),
        ("/v1/search?q=dog&top=0", "parameters"),
        ("/v1/search?q=dog&top=many", "parameters"),
        ("/v1/search?q=dog&page=2", "parameters"),
        ("/v1/search?q=dog&cursor=1-2", "parameters"),
        ("/v1/photos/first", "parameters"),
        ("/v1/explain?photo=1", "parameters"),
    ] {
        Served::problem(served.get(path, &[]), 400, code);
    }
    Served::problem(served.get("/v1/search?like=123456", &[]), 404, "no_photo");
    Served::problem(served.get("/v1/photos/123456", &[]), 404, "no_photo");
    Served::problem(served.get("/../index.sqlite", &[]), 404, "not_found");
    Served::problem(served.get("/%ff", &[]), 404, "not_found");
    let numbered = served.get("/health", &[["x-request-id", "of a client"]]);
    assert_ne!(numbered.headers()["x-request-id"], "of a client");
    // Its photos were added as features.
    let upload = served.post("/v1/search/photo", "image/png", b"\x89PNG");
    Served::problem(upload, 501, "unavailable");
    Served::problem(
        served.post("/v1/index", "text/plain", b""),
        501,
        "unavailable",
    );
    is_described(&served);
    works_in_a_browser(&served, "words", &words);
    stops_when_told_to(served);
}

fn pages_are_parts_of_the_whole(served: &Served, all: &Value) {
    let query = all["query"].as_str().unwrap();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = served.search(query, &format!("&top=3{cursor}"));
        assert_eq!(page["found"], all["found"]);
        found.extend(ids(&page));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids(all));
    assert!(found.len() > 6, "{found:?}");
}

fn is_described(served: &Served) {
    let description = json(served.get("/openapi.json", &[]), 200);
    let paths = description["paths"].as_object().unwrap();
    for path in [
        "/v1/search",
        "/v1/search/photo",
        "/v1/explain",
        "/v1/photos/{id}",
        "/v1/index",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let photo = &paths["/v1/photos/{id}/original"]["get"]["responses"];
    assert_eq!(
        photo["200"]["content"],
        serde_json::json!({ "image/*": {} })
    );
    assert_eq!(photo["401"]["content"].as_object().unwrap().len(), 1);
    assert!(photo["404"]["description"].is_string(), "{photo}");
    for (path, part) in [
        ("/", "<title>"),
        ("/page.css", "color-scheme"),
        ("/page.js", "/v1/search"),
        ("/docs", "/v1/search/photo"),
        ("/health", "ok"),
        ("/ready", "ready"),
        (
            "/metrics",
            "uard_requests_total{route=\"/v1/search\",status=\"200\"}",
        ),
    ] {
        let response = served.get(path, &[]);
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let text = String::from_utf8(bytes(response)).unwrap();
        assert!(text.contains(part), "`{part}` is not in {path}");
    }
    let page = [["sec-fetch-site", "cross-site"]];
    Served::problem(served.get("/v1/search?q=dog", &page), 403, "origin");
    let host = [["host", "evil.example"]];
    Served::problem(served.get("/v1/search?q=dog", &host), 403, "origin");
}

/// The first signal ends the service, and it says that this was asked for.
#[cfg(unix)]
fn stops_when_told_to(mut served: Served) {
    let pid = served.process.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(served.process.wait().unwrap().code(), Some(0));
}

#[cfg(not(unix))]
fn stops_when_told_to(_: Served) {}

/// By the name that the answer to an upload gave, photos are searched for as by the upload, page by page.
fn asks_again_without_an_upload(served: &Served, found: &Value) {
    let like = found["like"].as_str().unwrap();
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = served.search("", &format!("&top=1&like={like}{cursor}"));
        ids.push(page["results"][0]["id"].clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let results = found["results"].as_array().unwrap().iter();
    let expected: Vec<Value> = results.map(|result| result["id"].clone()).collect();
    assert!(expected.len() > 1);
    assert_eq!(ids, expected);
    let forgotten = like.replace(|digit: char| digit.is_ascii_digit(), "a");
    let forgotten = served.get(&format!("/v1/search?like={forgotten}"), &[]);
    Served::problem(forgotten, 404, "no_upload");
    Served::problem(served.get("/v1/search?like=dog", &[]), 400, "parameters");
}

/// `photos` is the folder of the photos that were indexed; `a.jpg` is one.
pub fn takes_and_gives_photos(folder: &Path) {
    let served = Served::start(folder, &["photos"]);
    let photo = fs::read(folder.join("photos/a.jpg")).unwrap();
    let found = json(served.post("/v1/search/photo", "image/jpeg", &photo), 200);
    let best = &found["results"][0];
    assert!(
        best["path"].as_str().unwrap().ends_with("photos/a.jpg"),
        "{best}"
    );
    asks_again_without_an_upload(&served, &found);
    let upload = |media_type: &str, body: &[u8]| served.post("/v1/search/photo", media_type, body);
    Served::problem(upload("text/html", &photo), 415, "media_type");
    Served::problem(upload("image/jpeg", b""), 422, "photo");
    Served::problem(
        upload("image/jpeg", &photo[..photo.len() / 2]),
        422,
        "photo",
    );
    Served::problem(upload("image/png", b"<html><script>"), 422, "photo");

    let path = folder.join("photos/a.jpg");
    works_in_a_browser(&served, "photo", &[path.to_str().unwrap()]);
    let id = best["id"].as_i64().unwrap();
    let at = |part: &str| format!("/v1/photos/{id}{part}");
    let details = json(served.get(&at(""), &[]), 200);
    assert_eq!(details["bytes"], photo.len());
    assert_eq!(details["width"], best["width"]);
    let thumbnail = served.get(&at("/thumbnail"), &[]);
    let tag = thumbnail.headers()["etag"].to_str().unwrap().to_owned();
    assert!(bytes(thumbnail).starts_with(b"\xff\xd8"));
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = served.get(&at("/thumbnail"), &[["if-none-match", &known]]);
        assert_eq!(again.status(), 304, "{known}");
    }
    let other = served.get(&at("/thumbnail"), &[["if-none-match", "\"other\""]]);
    assert_eq!(other.status(), 200);
    let original = served.get(&at("/original"), &[]);
    assert_eq!(original.headers()["content-type"], "image/jpeg");
    assert_eq!(bytes(original), photo);

    // Another file, or a link to one, in place of the photo is not given away.
    fs::rename(&path, folder.join("photo.jpg")).unwrap();
    Served::problem(served.get(&at("/original"), &[]), 410, "gone");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        Served::problem(served.get(&at("/original"), &[]), 410, "gone");
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, &photo[..100]).unwrap();
    Served::problem(served.get(&at("/original"), &[]), 410, "gone");
    fs::remove_file(&path).unwrap();
    fs::rename(folder.join("photo.jpg"), &path).unwrap();
    assert_eq!(bytes(served.get(&at("/original"), &[])), photo);

    let url = format!("{}{}", served.address, at(""));
    assert_eq!(served.agent.delete(&url).call().unwrap().status(), 204);
    Served::problem(served.agent.delete(&url).call().unwrap(), 404, "no_photo");
    Served::problem(served.get(&at("/thumbnail"), &[]), 404, "no_photo");
    updates(&served);
}

/// An update finds the photo again that was removed from the index.
fn updates(served: &Served) {
    let status = || json(served.get("/v1/index", &[]), 200);
    let before = status();
    assert_eq!(before["can_update"], true);
    assert_eq!(served.post("/v1/index", "text/plain", b"").status(), 202);
    for _ in 0..600 {
        let now = status();
        if now["updating"] == false {
            let photos = now["photos"].as_u64().unwrap();
            assert_eq!(photos, before["photos"].as_u64().unwrap() + 1);
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the update has not ended");
}

/// Runs the tests of the page in a browser, where one is installed and the tools are there
/// (`cargo xtask ci page`).
fn works_in_a_browser(served: &Served, suite: &str, given: &[&str]) {
    if std::env::var_os("UARD_PAGE_TOOLS").is_none() {
        eprintln!("skipped: UARD_PAGE_TOOLS is not set, so no browser opens the page");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/tests/page.mjs");
    let address = format!("{}/", served.address);
    let mut node = Command::new("node");
    let output = node
        .args([script, suite, &address])
        .args(given)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    assert!(printed.contains("ok "), "{printed}");
}

/// Other computers need a token, which a browser gets from the address of the page.
pub fn wants_a_token(folder: &Path) {
    let started = |more: &[&str]| command(folder, more).output().unwrap();
    refused(&started(&["--address", "0.0.0.0:0"]), &["token"]);
    refused(&started(&["--token", "short"]), &["at least 12"]);
    let served = Served::start(folder, &["--token", TOKEN]);
    Served::problem(served.get("/v1/index", &[]), 401, "token");
    let program = format!("Bearer {TOKEN}");
    json(served.get("/v1/index", &[["authorization", &program]]), 200);
    let page = served.get(&format!("/?token={TOKEN}"), &[]);
    assert_eq!(
        (page.status().as_u16(), &page.headers()["location"]),
        (303, &"/".parse().unwrap())
    );
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    json(served.get("/v1/index", &[["cookie", cookie]]), 200);
    assert_eq!(served.get("/health", &[]).status(), 200);
}
