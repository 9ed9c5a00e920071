//! Simulates a crash at every step of a writer: opens the files that are on disk at that moment, with
//! the losses of a power cut, and expects the state before the current call or after it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use super::*;
use crate::segment::{StepHook, WriterStep};

/// How many crashes and failing steps are tested at least.
const POINTS: usize = 2_000;

/// The names and bytes of the files in a folder.
type Files = BTreeMap<OsString, Vec<u8>>;

/// The files that are on disk when the machine stops.
struct Crash {
    description: &'static str,
    step: WriterStep,
    files: Files,
}

/// Records the files of a folder at every step of a writer.
struct Recorder {
    folder: PathBuf,
    rng: ChaCha8Rng,
    crashes: Vec<Crash>,
    /// The files when the last commit began.
    at_commit: Files,
    /// After this many more steps, one fails with this error.
    refuse_after: Option<(usize, ErrorKind)>,
}

impl Recorder {
    fn record(&mut self, step: WriterStep) -> io::Result<()> {
        if let Some((left, kind)) = &mut self.refuse_after
            && step != WriterStep::Committed
        {
            if *left == 0 {
                return Err((*kind).into());
            }
            *left -= 1;
        }
        let files = read_all(&self.folder);
        self.add_losses(step, &files);
        if step == WriterStep::Commit {
            self.at_commit = files.clone();
        }
        self.add("all files", step, files);
        Ok(())
    }

    fn add(&mut self, description: &'static str, step: WriterStep, files: Files) {
        self.crashes.push(Crash {
            description,
            step,
            files,
        });
    }

    /// Adds crashes in which a power cut loses a part of what was not on disk yet.
    fn add_losses(&mut self, step: WriterStep, files: &Files) {
        let mut left = files.clone();
        match step {
            // The segment was not synced yet: any part of it may be missing or zeros.
            WriterStep::Write | WriterStep::Finish => {
                let is_unfinished = |name: &OsString| name.to_str().unwrap().starts_with(".unfin");
                let unfinished = left.iter_mut().find(|(name, _)| is_unfinished(name));
                let (_, bytes) = unfinished.unwrap();
                let kept = self.rng.random_range(0..=bytes.len());
                match self.rng.random_bool(0.5) {
                    true => bytes.truncate(kept),
                    false => bytes[kept..].fill(0),
                }
                self.add("an incomplete segment", step, left);
            }
            // In `finish`, between renaming the file and syncing the folder, the rename may be lost.
            WriterStep::Finished => {
                let number = |name: &OsString| {
                    let rest = name.to_str()?.strip_prefix("segment-")?;
                    rest.strip_suffix(".packed")?.parse::<i64>().ok()
                };
                let name = left
                    .keys()
                    .max_by_key(|&name| number(name))
                    .unwrap()
                    .clone();
                let bytes = left.remove(&name).unwrap();
                left.insert(".unfinished-back".into(), bytes);
                self.add("a lost rename", step, left);
            }
            // In a commit, SQLite's log may be written up to any byte.
            WriterStep::Committed => {
                let [main, log] = ["index.sqlite", "index.sqlite-wal"].map(OsString::from);
                if self.at_commit[&main] != files[&main] {
                    // SQLite has copied the log into the database, and synced the log before that.
                    return;
                }
                let none = Vec::new();
                let before = self.at_commit.get(&log).unwrap_or(&none);
                let after = &files[&log];
                let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
                let cut = self.rng.random_range(same..=after.len());
                let rest = before.get(cut..).unwrap_or_default();
                left.insert(log.clone(), [&after[..cut], rest].concat());
                self.add("an incomplete log", step, left.clone());
                if same < after.len() {
                    let mut flipped = after.clone();
                    let at = self.rng.random_range(same..after.len());
                    flipped[at] ^= 1 << self.rng.random_range(0..8);
                    left.insert(log, flipped);
                    self.add("a log with a wrong byte", step, left);
                }
            }
            _ => {}
        }
    }
}

/// All files but the lock and SQLite's shared memory, which are not there after a crash.
fn read_all(folder: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name != ".lock" && name != "index.sqlite-shm" {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

fn hook(recorder: &Arc<Mutex<Recorder>>) -> StepHook {
    let recorder = Arc::clone(recorder);
    StepHook(Some(Box::new(move |step| {
        recorder.lock().unwrap().record(step)
    })))
}

impl Crash {
    /// Opens the files as a reader and as a writer, and checks what they hold.
    fn recover(&self, allowed: [&State; 2]) -> Recovered {
        let folder = folder();
        let path = folder.path();
        for (name, bytes) in &self.files {
            fs::write(path.join(name), bytes).unwrap();
        }
        let crash = format!("{} at {:?}", self.description, self.step);
        let mut reader = Index::open(path).unwrap();
        let state = State::read(&mut reader);
        assert!(allowed.contains(&&state), "{crash}");
        assert_eq!(reader.check(), [], "{crash}");
        let mut writer = Writer::open(path).unwrap();
        assert_eq!(State::read(writer.index_mut()), state, "{crash}");
        let listed = writer.index().recorded_segments().unwrap().len();
        let found = crate::segment::find_all(path).unwrap().len();
        assert_eq!(found, listed, "{crash}: segments that are not listed");
        let unfinished = |name: &OsString| name.to_str().unwrap().starts_with(".unfinished");
        assert!(!read_all(path).keys().any(unfinished), "{crash}");
        Recovered {
            crash,
            reader,
            writer,
            state,
            _folder: folder,
        }
    }
}

/// An index that was opened after a crash.
struct Recovered {
    crash: String,
    reader: Index,
    writer: Writer,
    state: State,
    /// The last field, so that it is removed after the index is closed.
    _folder: TempDir,
}

impl Recovered {
    /// Adds a photo, and expects that the reader finds it.
    fn add_a_photo(&mut self) {
        let made = made(&["/photos/new.jpg"]);
        let ids = add(&mut self.writer, &made).unwrap();
        self.state.apply(&Operation::Add(made), &ids);
        let crash = &self.crash;
        assert_eq!(State::read(&mut self.reader), self.state, "{crash}");
        assert_eq!(self.reader.check(), [], "{crash}");
    }
}

/// An index under random operations, and its expected state.
struct Run {
    folder: TempDir,
    recorder: Arc<Mutex<Recorder>>,
    writer: Option<Writer>,
    state: State,
    rng: ChaCha8Rng,
}

impl Run {
    fn new(seed: u64) -> Self {
        let folder = folder();
        let recorder = Arc::new(Mutex::new(Recorder {
            folder: folder.path().to_owned(),
            rng: rng(seed + 1_000),
            crashes: Vec::new(),
            at_commit: Files::new(),
            refuse_after: None,
        }));
        let mut writer = Index::create(folder.path(), &model()).unwrap();
        writer.hook = hook(&recorder);
        Self {
            folder,
            recorder,
            writer: Some(writer),
            state: State::default(),
            rng: rng(seed),
        }
    }

    /// Performs an operation. Returns the crashes that could have happened in it, and the state
    /// before it.
    fn step(&mut self, operation: &Operation) -> (Vec<Crash>, State) {
        let before = self.state.clone();
        let ids = match operation {
            Operation::Reopen => {
                self.reopen().unwrap();
                Vec::new()
            }
            _ => operation.perform(self.writer.as_mut().unwrap()).unwrap(),
        };
        self.state.apply(operation, &ids);
        let crashes = std::mem::take(&mut self.recorder.lock().unwrap().crashes);
        (crashes, before)
    }

    fn reopen(&mut self) -> Result<()> {
        self.writer = None;
        self.writer = Some(Writer::open_with_hook(
            self.folder.path(),
            hook(&self.recorder),
        )?);
        Ok(())
    }

    /// Performs an operation in which some step fails, and expects that nothing has changed.
    fn step_that_fails(&mut self, operation: &Operation) {
        let kinds = [ErrorKind::StorageFull, ErrorKind::Other];
        let kind = kinds[self.rng.random_range(0..2)];
        let after = self.rng.random_range(0..8);
        self.recorder.lock().unwrap().refuse_after = Some((after, kind));
        let outcome = match operation {
            Operation::Reopen => self.reopen(),
            _ => {
                let writer = self.writer.as_mut().unwrap();
                let ids = operation.perform(writer);
                ids.map(|ids| self.state.apply(operation, &ids))
            }
        };
        self.recorder.lock().unwrap().refuse_after = None;
        if outcome.is_err() && self.writer.is_none() {
            self.reopen().unwrap();
        }
        let index = self.writer.as_mut().unwrap().index_mut();
        assert_eq!(State::read(index), self.state, "{operation:?}");
        self.recorder.lock().unwrap().crashes.clear();
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_state_before_or_after_the_call() {
    let mut points = 0;
    let mut seeds = 0..;
    while points < POINTS {
        let mut run = Run::new(seeds.next().unwrap());
        for _ in 0..60 {
            let operation = Operation::draw(&mut run.rng, &run.state);
            if run.rng.random_bool(0.3) {
                run.step_that_fails(&operation);
                points += 1;
                continue;
            }
            let (crashes, before) = run.step(&operation);
            for crash in &crashes {
                let mut recovered = crash.recover([&before, &run.state]);
                if run.rng.random_bool(0.2) {
                    recovered.add_a_photo();
                }
            }
            points += crashes.len() + 1;
            // After the call has returned, only the state after it is allowed.
            let returned = Crash {
                description: "the call has returned",
                step: WriterStep::Committed,
                files: read_all(run.folder.path()),
            };
            returned.recover([&run.state; 2]);
        }
    }
}

#[test]
fn a_call_that_finds_the_disk_full_changes_nothing() {
    let folder = folder();
    let mut writer = Index::create(folder.path(), &model()).unwrap();
    add(&mut writer, &made(&["/photos/a.jpg"])).unwrap();
    let before = State::read(writer.index_mut());
    let database = &writer.index().database;
    let pages: i64 = database
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let limit = |pages: i64| format!("PRAGMA max_page_count = {pages}");
    let set = |sql: String| {
        database
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    set(limit(pages));
    let mut large = made(&["/photos/b.jpg"]);
    large[0].photo.preview.thumbnail = vec![7; 100_000];
    let error = add(&mut writer, &large).unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    assert_eq!(State::read(writer.index_mut()), before);
    let database = &writer.index().database;
    database.query_row(&limit(1 << 30), [], |_| Ok(())).unwrap();
    add(&mut writer, &large).unwrap();
    assert_eq!(writer.index().check(), []);
}

#[test]
fn an_interrupted_creation_is_no_index_and_can_be_repeated() {
    let folder = folder();
    fs::write(folder.path().join("index.sqlite"), b"").unwrap();
    assert!(matches!(
        Index::open(folder.path()),
        Err(crate::Error::NoIndex { .. })
    ));
    assert!(matches!(
        Writer::open(folder.path()),
        Err(crate::Error::NoIndex { .. })
    ));
    Index::create(folder.path(), &model()).unwrap();
    assert_eq!(Index::open(folder.path()).unwrap().model(), &model());
}
