//! The hub that published networks are downloaded from, with a progress bar for each download.

use std::sync::Mutex;

use indicatif::{HumanBytes, ProgressBar};
use uard_hub::{Download, Hub};

use crate::terminal::{bar, note};

/// The hub that the environment variables `HF_…` describe; downloads are shown on stderr.
pub fn hub() -> Hub {
    let shown = Mutex::new(None);
    Hub {
        on_progress: Some(Box::new(move |download| {
            // A poisoned lock costs the bar, not the download.
            if let Ok(mut shown) = shown.lock() {
                show(&mut shown, download);
            }
        })),
        ..Hub::from_variables(|name| std::env::var_os(name))
    }
}

/// Prints one line for each file, and on a terminal a bar until it is downloaded.
fn show(shown: &mut Option<(String, ProgressBar)>, download: Download<'_>) {
    let begun = matches!(shown, Some((file, _)) if file == download.file);
    if !begun {
        let size = HumanBytes(download.total);
        note(&format!("downloading {}, {size}", download.file));
    }
    let (_, bar) = match shown.take() {
        Some(same) if begun => shown.insert(same),
        _ => shown.insert((download.file.to_owned(), bar(0, "downloading"))),
    };
    bar.set_length(download.total);
    bar.set_position(download.done);
    if download.done == download.total {
        bar.finish_and_clear();
    }
}
