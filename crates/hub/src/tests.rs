//! A network comes whole or not at all, and it is said why not.

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

const BERT: Wanted<'static> = Wanted {
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
struct World {
    server: Server,
    cache: TempDir,
}

impl World {
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

    /// Files under their hashes, whole or begun.
    fn blobs(&self, ending: &str) -> Vec<PathBuf> {
        let folder = self.cache.path().join("models--owner--name/blobs");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().unwrap_or_default() == ending);
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
        other => panic!("expected a refusal of the hub, found {other:?}"),
    }
}

#[test]
fn files_come_once_and_lie_side_by_side() {
    let world = World::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let mut hub = world.hub();
    hub.on_progress = Some(Box::new(move |download| {
        let told = (download.file.to_owned(), download.done, download.total);
        seen.lock().unwrap().push(told);
    }));
    let folder = source("hf:owner/name").folder(&hub, BERT).unwrap();
    expect_whole(&folder);
    assert!(!folder.join("onnx").exists());
    let told = told.lock().unwrap();
    assert!(told.contains(&("model.safetensors".to_owned(), 5000, 5000)));
    assert!(told.iter().all(|(_, done, total)| done <= total));
}

#[test]
fn what_is_cached_needs_no_hub() {
    let world = World::new();
    let folder = world.folder().unwrap();
    world.server.requests();
    world.server.set_fault(Fault::Status(500));
    assert_eq!(world.folder().unwrap(), folder);
    assert_eq!(world.server.requests(), []);
    let found = source("hf:owner/name")
        .folder(&world.offline(), BERT)
        .unwrap();
    assert_eq!(found, folder);
}

#[test]
fn an_interrupted_download_is_continued() {
    let world = World::new();
    world.server.set_fault(Fault::ClosesHalfway);
    let single = source("hf:owner/name/model.safetensors");
    let error = hub_error(single.file(&world.hub(), &[]));
    assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    assert!(world.blobs("").is_empty());
    let begun = world.blobs("part");
    assert_eq!(fs::metadata(&begun[0]).unwrap().len(), 2500);
    let refused = hub_error(single.file(&world.offline(), &[]));
    assert!(matches!(refused, HubError::Offline { .. }), "{refused}");

    world.server.set_fault(Fault::Nothing);
    let path = single.file(&world.hub(), &[]).unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
    assert!(world.blobs("part").is_empty());
}

#[test]
fn a_part_that_cannot_be_continued_is_begun_again() {
    for (fault, begun) in [
        // The whole file is sent behind what is there.
        (Fault::IgnoresRange, 2500),
        // The part is whole, or longer than the file.
        (Fault::Nothing, 5000),
        (Fault::Nothing, 6000),
    ] {
        let world = World::new();
        world.server.set_fault(Fault::ClosesHalfway);
        let single = source("hf:owner/name/model.safetensors");
        single.file(&world.hub(), &[]).unwrap_err();
        let part = &world.blobs("part")[0];
        fs::File::options()
            .write(true)
            .open(part)
            .unwrap()
            .set_len(begun)
            .unwrap();
        world.server.set_fault(fault);
        let path = single.file(&world.hub(), &[]).unwrap();
        assert_eq!(fs::read(path).unwrap(), weights());
    }
}

#[test]
fn a_short_or_changed_file_is_refused_and_removed() {
    for (fault, said) in [
        (Fault::EndsHalfway, "truncated: expected"),
        (Fault::OtherByte, "expected hash"),
    ] {
        let world = World::new();
        world.server.set_fault(fault);
        let message = hub_error(world.folder()).to_string();
        assert!(message.contains(said), "{message}");
        assert!(world.blobs("").is_empty());
        world.server.set_fault(Fault::Nothing);
        expect_whole(&world.folder().unwrap());
    }
}

#[test]
fn a_file_that_changed_in_the_cache_is_refused_and_removed() {
    let world = World::new();
    let folder = world.folder().unwrap();
    let mut bytes = weights();
    bytes[7] ^= 1;
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    let error = hub_error(source("hf:owner/name").folder(&world.offline(), BERT));
    assert!(matches!(error, HubError::Changed { .. }), "{error}");
    assert!(!folder.join("model.safetensors").exists());
    expect_whole(&world.folder().unwrap());
}

#[test]
fn a_link_that_leads_nowhere_is_replaced() {
    let world = World::new();
    let folder = world.folder().unwrap();
    let stored = fs::canonicalize(folder.join("model.safetensors")).unwrap();
    fs::remove_file(stored).unwrap();
    expect_whole(&world.folder().unwrap());
}

#[test]
fn offline_says_which_file_is_missing_and_how_to_get_it() {
    let world = World::new();
    let offline = world.offline();
    let message = hub_error(source("hf:owner/name").folder(&offline, BERT)).to_string();
    for said in [
        "config.json",
        "model.safetensors or pytorch_model.bin",
        "models--owner--name",
        "HF_HUB_OFFLINE",
        "hf download owner/name --revision main",
    ] {
        assert!(message.contains(said), "{message}");
    }
    let config = source("hf:owner/name/config.json");
    config.file(&world.hub(), &[]).unwrap();
    world.server.requests();
    let message = hub_error(source("hf:owner/name").folder(&offline, BERT)).to_string();
    assert!(message.contains(": model.safetensors or"), "{message}");
    assert_eq!(world.server.requests(), []);
    config.file(&offline, &[]).unwrap();
}

#[test]
fn without_a_server_the_ways_out_are_named() {
    let world = World::new();
    let hub = world.hub();
    drop(world.server);
    let message = hub_error(source("hf:owner/name").folder(&hub, BERT)).to_string();
    for said in [
        "hf:owner/name",
        &hub.endpoint,
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE=1",
    ] {
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn refusals_are_told_apart() {
    let world = World::new();
    let folder = |fault| {
        world.server.set_fault(fault);
        hub_error(world.folder())
    };
    let error = folder(Fault::Status(401));
    assert!(matches!(error, HubError::Unauthorized { .. }), "{error}");
    let error = folder(Fault::Status(403));
    assert!(matches!(error, HubError::Forbidden { .. }), "{error}");
    let error = folder(Fault::Status(404));
    assert!(matches!(error, HubError::NoRevision { .. }), "{error}");
    let error = folder(Fault::Status(503));
    assert!(error.to_string().contains("503"), "{error}");

    world.server.set_fault(Fault::Nothing);
    let error = hub_error(source("hf:owner/name/absent.bin").file(&world.hub(), &[]));
    assert!(error.to_string().contains("absent.bin"), "{error}");
    assert!(error.to_string().contains("onnx/model.onnx"), "{error}");
    let error = hub_error(source("hf:owner/name@v9").folder(&world.hub(), BERT));
    assert!(error.to_string().contains("v9"), "{error}");
    let error = hub_error(source("hf:owner/name/config.json").folder(&world.hub(), BERT));
    assert!(matches!(error, HubError::SingleFile { .. }), "{error}");
}

#[test]
fn a_revision_has_its_own_files_and_a_branch_stays_where_it_was() {
    let world = World::new();
    let first = world.folder().unwrap();
    let other = [
        ("config.json", &b"{}"[..]),
        ("pytorch_model.bin", b"pickle"),
    ];
    let mut site = world.server.site.lock().unwrap();
    site.publish("refs/pr/3", SECOND, &other);
    site.publish("main", SECOND, &other);
    site.publish(SECOND, SECOND, &other);
    drop(site);
    for revision in ["refs/pr/3", SECOND] {
        let named = source(&format!("hf:owner/name@{revision}"));
        for hub in [world.hub(), world.offline()] {
            let folder = named.folder(&hub, BERT).unwrap();
            assert!(folder.ends_with(SECOND));
            assert_eq!(
                fs::read(folder.join("pytorch_model.bin")).unwrap(),
                b"pickle"
            );
        }
    }
    assert_eq!(world.folder().unwrap(), first);
}

#[test]
fn optional_files_that_appear_in_another_program_are_asked_for() {
    let world = World::new();
    let bare = Wanted {
        optional: &[],
        ..BERT
    };
    source("hf:owner/name").folder(&world.hub(), bare).unwrap();
    world.server.requests();
    // Nobody has asked whether the repository has it.
    world.folder().unwrap();
    assert_eq!(world.server.requests().len(), 1);
    world.folder().unwrap();
    assert_eq!(world.server.requests(), []);
}

#[test]
fn the_token_is_sent_and_not_shown() {
    let world = World::new();
    let file = world.cache.path().join("token");
    fs::write(&file, "of-the-file\n").unwrap();
    for (token, sent) in [
        (Some("given".to_owned()), "Bearer given"),
        (None, "Bearer of-the-file"),
    ] {
        let hub = Hub {
            token,
            token_file: Some(file.clone()),
            ..world.hub()
        };
        assert!(!format!("{hub:?}").contains("given"));
        hub_error(source("hf:owner/name/absent").file(&hub, &[]));
        let requests = world.server.requests();
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
fn hub_that_is_silent_is_not_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = Hub {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        cache: Some(tempfile::tempdir().unwrap().path().to_owned()),
        patience: Duration::from_millis(100),
        ..Hub::default()
    };
    // The system takes the connection; nobody ever answers.
    let message = source("hf:owner/name").folder(&hub, BERT).unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("cannot reach") && message.contains("100ms"),
        "{message}"
    );
}

#[test]
fn weights_in_several_files_come_with_all_of_them() {
    let world = World::new();
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files: [(&str, &[u8]); 4] = [
        ("config.json", CONFIG),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ];
    let site = &world.server.site;
    site.lock().unwrap().publish("cut", SECOND, &files);
    let wanted = Wanted {
        needed: &[&["config.json"], &weights::FILES],
        optional: &[],
    };
    let fetched = || source("hf:owner/name@cut").folder(&world.hub(), wanted);
    let folder = fetched().unwrap();
    for (name, bytes) in files {
        assert_eq!(fs::read(folder.join(name)).unwrap(), bytes);
    }
    world.server.requests();
    fetched().unwrap();
    assert_eq!(world.server.requests(), []);
}
