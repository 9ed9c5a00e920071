//! A server for tests that answers requests as a hub does, with one repository, on a local port.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha1::{Digest, Sha1};
use sha2::Sha256;

pub const REPOSITORY: &str = "owner/name";

/// Files of at least this many bytes are redirected to another address, as large files of a hub are.
const LARGE: usize = 1000;

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    Nothing,
    /// The connection is closed after half of the bytes that the header announced.
    ClosesHalfway,
    /// The body ends after half of the file, and the header announced no length.
    EndsHalfway,
    /// One byte of the file is changed.
    OtherByte,
    /// The file is sent from its start, whatever range was requested.
    IgnoresRange,
    /// Every response has this status.
    Status(u16),
}

/// The published files, the fault of the server, and the requests so far.
#[derive(Debug, Default)]
pub struct Site {
    /// Commits by revision.
    pub revisions: BTreeMap<String, String>,
    /// Contents by commit and name.
    pub files: BTreeMap<(String, String), Vec<u8>>,
    pub fault: Fault,
    /// The path of each request, and its header `authorization`.
    pub requests: Vec<(String, Option<String>)>,
}

impl Site {
    pub fn publish(&mut self, revision: &str, commit: &str, files: &[(&str, &[u8])]) {
        self.revisions
            .insert(revision.to_owned(), commit.to_owned());
        for (name, bytes) in files {
            let key = (commit.to_owned(), (*name).to_owned());
            self.files.insert(key, bytes.to_vec());
        }
    }
}

pub struct Server {
    address: SocketAddr,
    pub site: Arc<Mutex<Site>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (site, stop) = (Arc::<Mutex<Site>>::default(), Arc::<AtomicBool>::default());
        let (shared, stopped) = (Arc::clone(&site), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                answer(&stream.unwrap(), address, &shared);
            }
        });
        Self {
            address,
            site,
            stop,
            thread: Some(thread),
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set_fault(&self, fault: Fault) {
        self.site.lock().unwrap().fault = fault;
    }

    /// The requests since the last call of this function.
    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.site.lock().unwrap().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

struct Request {
    path: String,
    /// The first and the last byte that are requested.
    range: Option<(usize, Option<usize>)>,
    token: Option<String>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let range = headers.get("range").map(|range| {
        let (first, last) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        (first.parse().unwrap(), last.parse().ok())
    });
    let token = headers.get("authorization").cloned();
    Some(Request { path, range, token })
}

fn answer(mut stream: &TcpStream, address: SocketAddr, site: &Mutex<Site>) {
    let Some(request) = read(stream) else { return };
    let mut site = site.lock().unwrap();
    site.requests
        .push((request.path.clone(), request.token.clone()));
    let listing = format!("/api/models/{REPOSITORY}/revision/");
    let resolve = format!("/{REPOSITORY}/resolve/");
    let bytes = if let Fault::Status(status) = site.fault {
        status_line(status)
    } else if let Some(revision) = request.path.strip_prefix(&listing) {
        list(&site, &revision.replace("%2F", "/"))
    } else if let Some(place) = request.path.strip_prefix(&resolve) {
        file(&site, place, &request, Some(address))
    } else if let Some(place) = request.path.strip_prefix("/cdn/") {
        file(&site, place, &request, None)
    } else {
        status_line(404)
    };
    // Fails if the client has closed the connection.
    let _ = stream.write_all(&bytes);
}

fn status_line(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn list(site: &Site, revision: &str) -> Vec<u8> {
    let Some(commit) = site.revisions.get(revision) else {
        return status_line(404);
    };
    let files = site.files.keys().filter(|(other, _)| other == commit);
    let files: Vec<_> = files
        .map(|(_, name)| serde_json::json!({ "rfilename": name }))
        .collect();
    let body = serde_json::json!({ "sha": commit, "siblings": files }).to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

fn file(site: &Site, place: &str, request: &Request, hub: Option<SocketAddr>) -> Vec<u8> {
    let (commit, name) = place.split_once('/').unwrap();
    let Some(contents) = site.files.get(&(commit.to_owned(), name.to_owned())) else {
        return status_line(404);
    };
    let size = contents.len();
    let large = size >= LARGE;
    let mut head = match hub {
        Some(_) if large => format!(
            "x-repo-commit: {commit}\r\nx-linked-etag: \"{}\"\r\nx-linked-size: {size}\r\n",
            hex(Sha256::digest(contents).as_slice())
        ),
        Some(_) => format!("x-repo-commit: {commit}\r\netag: \"{}\"\r\n", git(contents)),
        None => "etag: \"of no use\"\r\n".to_owned(),
    };
    if let (Some(address), true) = (hub, large) {
        head += &format!("Location: http://{address}/cdn/{place}\r\nContent-Length: 0\r\n");
        return format!("HTTP/1.1 302 Found\r\n{head}Connection: close\r\n\r\n").into_bytes();
    }
    contents_of(contents, request, site.fault, head)
}

/// The response with the requested range of a file; `head` are the first lines of its header.
fn contents_of(contents: &[u8], request: &Request, fault: Fault, mut head: String) -> Vec<u8> {
    let size = contents.len();
    let range = request.range.unwrap_or((0, None));
    // A request for the first byte alone is one for the size.
    let fault = match range {
        (0, Some(0)) => Fault::Nothing,
        _ => fault,
    };
    let (first, end) = match fault {
        Fault::IgnoresRange => (0, size),
        _ => (range.0, range.1.map_or(size, |last| last + 1)),
    };
    if first >= size {
        return status_line(416);
    }
    let mut body = contents[first..end].to_vec();
    let length = body.len();
    match fault {
        Fault::ClosesHalfway | Fault::EndsHalfway => body.truncate(length / 2),
        Fault::OtherByte => body[length / 2] ^= 1,
        _ => {}
    }
    if fault != Fault::EndsHalfway {
        head += &format!("Content-Length: {length}\r\n");
    }
    let status = match fault {
        Fault::IgnoresRange => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {first}-{}/{size}",
            end - 1
        ),
    };
    let mut bytes = format!("HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

fn git(contents: &[u8]) -> String {
    let head = format!("blob {}\0", contents.len());
    hex(Sha1::new_with_prefix(head)
        .chain_update(contents)
        .finalize()
        .as_slice())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
