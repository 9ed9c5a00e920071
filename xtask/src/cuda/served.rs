//! A package index with one file for tests, served over connections that break.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that runs until the test ends.
pub struct Served {
    /// Address of the index.
    pub address: String,
    ranges: Arc<Mutex<Vec<usize>>>,
}

impl Served {
    /// Each request for the file gets as many bytes as the next entry of `pieces`, then the
    /// connection ends.
    pub fn new(name: &str, content: &[u8], pieces: &[usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/simple", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (name, content, pieces) = (name.to_owned(), content.to_vec(), pieces.to_vec());
        let requested = Arc::clone(&ranges);
        thread::spawn(move || {
            let mut pieces = pieces.into_iter();
            for stream in listener.incoming() {
                answer(stream.unwrap(), &name, &content, &mut pieces, &requested);
            }
        });
        Self { address, ranges }
    }

    /// The first byte of each requested range, in the order of the requests.
    pub fn ranges(&self) -> Vec<usize> {
        self.ranges.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    name: &str,
    content: &[u8],
    pieces: &mut impl Iterator<Item = usize>,
    requested: &Mutex<Vec<usize>>,
) {
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .collect();
    if lines[0].starts_with("GET /simple/") {
        let page = format!("<a href=\"../../files/{name}#sha256=0\">{name}</a>");
        head(&mut stream, "200 OK", page.len());
        stream.write_all(page.as_bytes()).unwrap();
        return;
    }
    let from = lines
        .iter()
        .map(|line| line.to_lowercase())
        .find_map(|line| {
            Some(
                line.strip_prefix("range: bytes=")?
                    .trim_end_matches('-')
                    .parse(),
            )
        })
        .map_or(0, |from: Result<usize, _>| from.unwrap());
    requested.lock().unwrap().push(from);
    let status = if from > 0 {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    let rest = &content[from..];
    head(&mut stream, status, rest.len());
    let piece = pieces.next().unwrap().min(rest.len());
    stream.write_all(&rest[..piece]).unwrap();
}

fn head(stream: &mut TcpStream, status: &str, length: usize) {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
}
