//! Tests of downloads from a hub: files arrive whole and checked, or an error says why not.

mod server;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::source::Source;
use server::{Fault, Server};

const FIRST: &str = "1111111111111111111111111111111111111111";
const SECOND: &str = "2222222222222222222222222222222222222222";

const CONFIG: &[u8] = b"{\"hidden_size\": 6}";

const BERT: WantedFiles<'static> = WantedFiles {
    needed: &[
        &["config.json"],
        &["model.safetensors", "pytorch_model.bin"],
    ],
    optional: &["tokenizer_config.json"],
};

fn weights() -> Vec<u8> {
    (0..5000u32).map(|at| (at * at % 251) as u8).collect()
}

/// A hub with one repository, and an empty cache.
struct TestHub {
    server: Server,
    cache: TempDir,
}

impl TestHub {
    fn new() -> Self {
        let server = Server::start();
        let files = [
            ("config.json", CONFIG),
            ("model.safetensors", &weights()),
            ("onnx/model.onnx", b"onnx"),
        ];
        server.site.lock().unwrap().publish("main", FIRST, &files);
        let cache = tempfile::tempdir().unwrap();
        Self { server, cache }
    }

    fn hub(&self) -> Hub {
        Hub {
            cache: Some(self.cache.path().to_owned()),
            endpoint: self.server.endpoint(),
            ..Hub::default()
        }
    }

    fn offline(&self) -> Hub {
        Hub {
            mode: Mode::Offline,
            ..self.hub()
        }
    }

    fn folder(&self) -> Result<PathBuf> {
        source("hf:owner/name").folder(&self.hub(), BERT)
    }

    /// Files of the cache that are named by their hashes and have this extension: no extension if
    /// they are whole, `part` if they are not.
    fn blobs(&self, extension: &str) -> Vec<PathBuf> {
        let folder = self.cache.path().join("models--owner--name/blobs");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().unwrap_or_default() == extension);
        paths
    }
}

fn source(text: &str) -> Source {
    text.parse().unwrap()
}

fn expect_whole(folder: &Path) {
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
}

fn hub_error<T: fmt::Debug>(outcome: Result<T>) -> HubError {
    match outcome {
        Err(Error::Hub(error)) => error,
        other => panic!("expected an error of the hub, found {other:?}"),
    }
}

#[test]
fn wanted_files_are_downloaded_into_one_folder() {
    let test = TestHub::new();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&reports);
    let mut hub = test.hub();
    hub.on_progress = Some(Box::new(move |download| {
        let report = (download.file.to_owned(), download.done, download.total);
        shared.lock().unwrap().push(report);
    }));
    let folder = source("hf:owner/name").folder(&hub, BERT).unwrap();
    expect_whole(&folder);
    assert!(!folder.join("onnx").exists());
    let reports = reports.lock().unwrap();
    assert!(reports.contains(&("model.safetensors".to_owned(), 5000, 5000)));
    assert!(reports.iter().all(|(_, done, total)| done <= total));
}

#[test]
fn cached_files_need_no_request() {
    let test = TestHub::new();
    let folder = test.folder().unwrap();
    test.server.requests();
    test.server.set_fault(Fault::Status(500));
    assert_eq!(test.folder().unwrap(), folder);
    assert_eq!(test.server.requests(), []);
    let found = source("hf:owner/name")
        .folder(&test.offline(), BERT)
        .unwrap();
    assert_eq!(found, folder);
}

#[test]
fn an_interrupted_download_is_continued() {
    let test = TestHub::new();
    test.server.set_fault(Fault::ClosesHalfway);
    let single = source("hf:owner/name/model.safetensors");
    let error = hub_error(single.file(&test.hub(), &[]));
    assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    assert!(test.blobs("").is_empty());
    let begun = test.blobs("part");
    assert_eq!(fs::metadata(&begun[0]).unwrap().len(), 2500);
    let refused = hub_error(single.file(&test.offline(), &[]));
    assert!(matches!(refused, HubError::Offline { .. }), "{refused}");

    test.server.set_fault(Fault::Nothing);
    let path = single.file(&test.hub(), &[]).unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
    assert!(test.blobs("part").is_empty());
}

#[test]
fn a_part_that_cannot_be_continued_is_begun_again() {
    for (fault, begun) in [
        // The server sends the whole file instead of the rest, and the client appends it to the
        // part.
        (Fault::IgnoresRange, 2500),
        // The part is as long as the file, or longer.
        (Fault::Nothing, 5000),
        (Fault::Nothing, 6000),
    ] {
        let test = TestHub::new();
        test.server.set_fault(Fault::ClosesHalfway);
        let single = source("hf:owner/name/model.safetensors");
        single.file(&test.hub(), &[]).unwrap_err();
        let part = &test.blobs("part")[0];
        fs::File::options()
            .write(true)
            .open(part)
            .unwrap()
            .set_len(begun)
            .unwrap();
        test.server.set_fault(fault);
        let path = single.file(&test.hub(), &[]).unwrap();
        assert_eq!(fs::read(path).unwrap(), weights());
    }
}

#[test]
fn a_short_or_changed_file_is_refused_and_removed() {
    for (fault, part) in [
        (Fault::EndsHalfway, "truncated: expected"),
        (Fault::OtherByte, "expected hash"),
    ] {
        let test = TestHub::new();
        test.server.set_fault(fault);
        let message = hub_error(test.folder()).to_string();
        assert!(message.contains(part), "{message}");
        assert!(test.blobs("").is_empty());
        test.server.set_fault(Fault::Nothing);
        expect_whole(&test.folder().unwrap());
    }
}

#[test]
fn a_file_that_changed_in_the_cache_is_refused_and_removed() {
    let test = TestHub::new();
    let folder = test.folder().unwrap();
    let mut bytes = weights();
    bytes[7] ^= 1;
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    let error = hub_error(source("hf:owner/name").folder(&test.offline(), BERT));
    assert!(matches!(error, HubError::Changed { .. }), "{error}");
    assert!(!folder.join("model.safetensors").exists());
    expect_whole(&test.folder().unwrap());
}

#[test]
fn a_link_without_its_target_is_replaced() {
    let test = TestHub::new();
    let folder = test.folder().unwrap();
    let stored = fs::canonicalize(folder.join("model.safetensors")).unwrap();
    fs::remove_file(stored).unwrap();
    expect_whole(&test.folder().unwrap());
}

#[test]
fn offline_says_which_file_is_missing_and_how_to_get_it() {
    let test = TestHub::new();
    let offline = test.offline();
    let message = hub_error(source("hf:owner/name").folder(&offline, BERT)).to_string();
    for part in [
        "config.json",
        "model.safetensors or pytorch_model.bin",
        "models--owner--name",
        "HF_HUB_OFFLINE",
        "hf download owner/name --revision main",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let config = source("hf:owner/name/config.json");
    config.file(&test.hub(), &[]).unwrap();
    test.server.requests();
    let message = hub_error(source("hf:owner/name").folder(&offline, BERT)).to_string();
    assert!(message.contains(": model.safetensors or"), "{message}");
    assert_eq!(test.server.requests(), []);
    config.file(&offline, &[]).unwrap();
}

#[test]
fn the_error_without_a_server_says_what_to_do() {
    let test = TestHub::new();
    let hub = test.hub();
    drop(test.server);
    let message = hub_error(source("hf:owner/name").folder(&hub, BERT)).to_string();
    for part in [
        "hf:owner/name",
        &hub.endpoint,
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE=1",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn each_status_has_its_own_error() {
    let test = TestHub::new();
    let folder = |fault| {
        test.server.set_fault(fault);
        hub_error(test.folder())
    };
    let error = folder(Fault::Status(401));
    assert!(matches!(error, HubError::Unauthorized { .. }), "{error}");
    let error = folder(Fault::Status(403));
    assert!(matches!(error, HubError::Forbidden { .. }), "{error}");
    let error = folder(Fault::Status(404));
    assert!(matches!(error, HubError::NoRevision { .. }), "{error}");
    let error = folder(Fault::Status(503));
    assert!(error.to_string().contains("503"), "{error}");

    test.server.set_fault(Fault::Nothing);
    let error = hub_error(source("hf:owner/name/absent.bin").file(&test.hub(), &[]));
    assert!(error.to_string().contains("absent.bin"), "{error}");
    assert!(error.to_string().contains("onnx/model.onnx"), "{error}");
    let error = hub_error(source("hf:owner/name@v9").folder(&test.hub(), BERT));
    assert!(error.to_string().contains("v9"), "{error}");
    let error = hub_error(source("hf:owner/name/config.json").folder(&test.hub(), BERT));
    assert!(matches!(error, HubError::SingleFile { .. }), "{error}");
}

#[test]
fn each_revision_has_its_own_files_and_a_branch_stays_at_its_cached_commit() {
    let test = TestHub::new();
    let first = test.folder().unwrap();
    let other = [
        ("config.json", &b"{}"[..]),
        ("pytorch_model.bin", b"pickle"),
    ];
    let mut site = test.server.site.lock().unwrap();
    site.publish("refs/pr/3", SECOND, &other);
    site.publish("main", SECOND, &other);
    site.publish(SECOND, SECOND, &other);
    drop(site);
    for revision in ["refs/pr/3", SECOND] {
        let named = source(&format!("hf:owner/name@{revision}"));
        for hub in [test.hub(), test.offline()] {
            let folder = named.folder(&hub, BERT).unwrap();
            assert!(folder.ends_with(SECOND));
            assert_eq!(
                fs::read(folder.join("pytorch_model.bin")).unwrap(),
                b"pickle"
            );
        }
    }
    assert_eq!(test.folder().unwrap(), first);
}

#[test]
fn optional_files_that_were_never_requested_are_requested() {
    let test = TestHub::new();
    let bare = WantedFiles {
        optional: &[],
        ..BERT
    };
    source("hf:owner/name").folder(&test.hub(), bare).unwrap();
    test.server.requests();
    // The cache does not say yet whether the repository has the optional file.
    test.folder().unwrap();
    assert_eq!(test.server.requests().len(), 1);
    test.folder().unwrap();
    assert_eq!(test.server.requests(), []);
}

#[test]
fn the_token_is_sent_and_not_printed() {
    let test = TestHub::new();
    let file = test.cache.path().join("token");
    fs::write(&file, "of-the-file\n").unwrap();
    for (token, sent) in [
        (Some("given".to_owned()), "Bearer given"),
        (None, "Bearer of-the-file"),
    ] {
        let hub = Hub {
            token,
            token_file: Some(file.clone()),
            ..test.hub()
        };
        assert!(!format!("{hub:?}").contains("given"));
        hub_error(source("hf:owner/name/absent").file(&hub, &[]));
        let requests = test.server.requests();
        assert_eq!(requests[0].1.as_deref(), Some(sent));
    }
}

#[test]
fn variables_are_those_of_the_python_library() {
    let hub = |set: &[(&str, &str)]| {
        let set: Vec<_> = set
            .iter()
            .map(|(k, v)| ((*k).to_owned(), OsString::from(v)))
            .collect();
        Hub::from_variables(move |name| {
            let found = set.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    };
    let path = |text: &str| Some(PathBuf::from(text));
    let plain = hub(&[("HOME", "/h")]);
    assert_eq!(plain.cache, path("/h/.cache/huggingface/hub"));
    assert_eq!(plain.token_file, path("/h/.cache/huggingface/token"));
    assert_eq!(
        (plain.endpoint.as_str(), plain.mode),
        (ENDPOINT, Mode::Online)
    );
    assert_eq!(
        hub(&[("HF_HOME", "/f"), ("HOME", "/h")]).cache,
        path("/f/hub")
    );
    let xdg = hub(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "")]);
    assert_eq!(xdg.cache, path("/x/huggingface/hub"));
    let all = hub(&[
        ("HF_HUB_CACHE", "/c"),
        ("HF_ENDPOINT", "https://mirror/"),
        ("HF_TOKEN", "t"),
        ("HF_HUB_OFFLINE", "True"),
    ]);
    assert_eq!((all.cache, all.token.as_deref()), (path("/c"), Some("t")));
    assert_eq!(
        (all.endpoint.as_str(), all.mode),
        ("https://mirror", Mode::Offline)
    );
    assert_eq!(hub(&[("HF_HUB_OFFLINE", "0")]).mode, Mode::Online);
    let nowhere = hub(&[]);
    let error = hub_error(source("hf:owner/name").folder(&nowhere, BERT));
    assert!(error.to_string().contains("HF_HOME"), "{error}");
    let odd = Hub {
        endpoint: "mirror".to_owned(),
        cache: path("/c"),
        ..Hub::default()
    };
    let error = hub_error(source("hf:owner/name").folder(&odd, BERT));
    assert!(error.to_string().contains("https://HOST"), "{error}");
}

#[test]
fn a_silent_hub_times_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = Hub {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        cache: Some(tempfile::tempdir().unwrap().path().to_owned()),
        timeout: Duration::from_millis(100),
        ..Hub::default()
    };
    // The system accepts the connection, and no response comes.
    let message = source("hf:owner/name").folder(&hub, BERT).unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("cannot reach") && message.contains("100ms"),
        "{message}"
    );
}

#[test]
fn all_files_of_an_index_are_downloaded() {
    let test = TestHub::new();
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files: [(&str, &[u8]); 4] = [
        ("config.json", CONFIG),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ];
    let site = &test.server.site;
    site.lock().unwrap().publish("cut", SECOND, &files);
    let wanted = WantedFiles {
        needed: &[&["config.json"], &weights::FILES],
        optional: &[],
    };
    let fetched = || source("hf:owner/name@cut").folder(&test.hub(), wanted);
    let folder = fetched().unwrap();
    for (name, bytes) in files {
        assert_eq!(fs::read(folder.join(name)).unwrap(), bytes);
    }
    test.server.requests();
    fetched().unwrap();
    assert_eq!(test.server.requests(), []);
}
