//! `uard serve`: the photo search as a web page and for programs, over HTTP.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use uard_features::backbone::{Photo, PhotoLimits};
use uard_search::Searcher;
use uard_serve::{EncodeError, EncodePhoto, IndexUpdate, Service, ServiceConfig, ServiceParts};

use crate::exit;
use crate::index::batch::NO_REGION;
use crate::index::model::{EncoderChoice, IndexModel};
use crate::index::paths::{IndexArgument, existing};
use crate::index::photos::{LazyEncoder, PhotoFolders};
use crate::index::query_photo::QueryEncoder;
use crate::interrupt;
use crate::terminal::{note, print};

/// Arguments of `uard serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints the address of the page, and runs until Ctrl-C. Only this computer can open \
    the page, unless --address says otherwise; then everybody needs the token. /docs on the page describes \
    what programs can ask. What another process does to the index is seen at once, so `uard index --watch` \
    may run beside it.\n\n\
    Examples:\n  \
    uard serve --open\n  \
    uard serve --index ~/indexes/mine ~/Pictures\n  \
    uard serve --address 0.0.0.0:8765 --token \"$(openssl rand -hex 16)\""
)]
pub struct Arguments {
    /// The folders that the index was made from. With them, the page has a button that updates the index.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    index: IndexArgument,
    /// Address and port to listen on.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8765")]
    address: SocketAddr,
    /// A secret of at least 12 letters and digits that every request must have. Needed if other computers
    /// can reach the address. Default: the environment variable UARD_TOKEN.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A name of this computer by which the page may be opened, beside localhost and its addresses.
    #[arg(long = "host-name", value_name = "NAME")]
    host_names: Vec<String>,
    /// How many words of queries may wait or be searched for at once; more are refused with status 429.
    /// With the default, one query of five words or several short ones: answers take about as long as those
    /// of an idle service. A larger queue answers more requests a second, and each later.
    #[arg(long, value_name = "WORDS", default_value_t = NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN))]
    queue: NonZeroUsize,
    /// The longest time of an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// Opens the page in the browser.
    #[arg(long)]
    open: bool,
    /// The format of the log, on stderr.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
}

/// The format of a log.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Serves until the process is told to end.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = arguments.index.folder()?;
    let variable = || std::env::var("UARD_TOKEN").ok();
    let parts = ServiceParts {
        searcher: Searcher::open(&folder)?,
        encoder: QueryEncoder::is_possible(&folder).then(|| encoder(folder.clone())),
        update: update(&arguments.paths, &folder)?,
    };
    let service = Service::bind(
        parts,
        ServiceConfig {
            address: arguments.address,
            token: arguments.token.clone().or_else(variable),
            host_names: arguments.host_names.clone(),
            queued_words: arguments.queue.get(),
            timeout: Duration::from_secs(arguments.timeout.max(1)),
        },
    )?;
    let stop = interrupt::watch();
    start_log(arguments.log);
    let url = service.url();
    print(&format!("the page is at {url}"))?;
    if arguments.open
        && let Err(error) = open::that_detached(&url)
    {
        note(&format!(
            "open the page yourself, no browser starts: {error}"
        ));
    }
    service.run(stop);
    Ok(())
}

/// Encodes uploaded photos. Its network is loaded when the first one comes.
fn encoder(index: PathBuf) -> EncodePhoto {
    let mut loaded = None;
    Box::new(move |bytes| {
        let photo = Photo::decode("the photo", bytes, PhotoLimits::default());
        let photo = photo.map_err(|error| EncodeError::Unreadable(error.to_string()))?;
        let failed = |error: anyhow::Error| EncodeError::Failed(exit::message(&error));
        let encoder = match &loaded {
            Some(encoder) => encoder,
            None => loaded.insert(QueryEncoder::load(&index, &index).map_err(failed)?),
        };
        let photo = encoder.encode(photo).map_err(failed)?;
        photo.ok_or_else(|| EncodeError::Unreadable(NO_REGION.to_owned()))
    })
}

/// Updates the index from folders; none without folders.
fn update(paths: &[PathBuf], folder: &Path) -> anyhow::Result<Option<IndexUpdate>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let roots = paths.iter().map(|path| existing(path));
    let photos = PhotoFolders {
        roots: roots.collect::<anyhow::Result<_>>()?,
        model: IndexModel::of_index(folder)?,
        limits: PhotoLimits::default(),
        part: None,
        stop: interrupt::watch(),
    };
    let encoder = Mutex::new(LazyEncoder::from(EncoderChoice::default()));
    let folder = folder.to_owned();
    Ok(Some(Arc::new(move || {
        // An update that panicked has written only whole photos.
        let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let updated = photos
            .update(&mut encoder)
            .map_err(|error| exit::message(&error))?;
        updated.print(&folder);
        Ok(())
    })))
}

fn start_log(format: LogFormat) {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
