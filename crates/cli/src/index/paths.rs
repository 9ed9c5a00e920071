//! Paths of an index: its own folder, and those of photos, which have one name however they were given.

use std::path::{Path, PathBuf};

use crate::exit::wrong;

/// The environment variable with the folder of the index.
const VARIABLE: &str = "UARD_INDEX";

/// The argument of every command that names an index.
#[derive(Debug, clap::Args)]
pub struct IndexArgument {
    /// The folder of the index. Default: the environment variable UARD_INDEX, else uard/index in the
    /// system's folder for data of programs.
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
}

impl IndexArgument {
    /// The folder of the index.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        let variable = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let default = || dirs::data_dir().map(|data| data.join("uard").join("index"));
        let given = self.index.clone();
        given
            .or_else(|| variable().map(PathBuf::from))
            .or_else(default)
            .ok_or_else(|| {
                wrong("this system has no folder for data of programs; name the folder of the index: --index DIR")
            })
    }
}

/// A path without links and `..`, so that a photo has the same path in the index whatever path led to
/// it.
///
/// # Errors
/// Nothing exists at the path.
pub fn existing(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        wrong(format!(
            "cannot open {}: {error}; if its photos are gone for good, `uard index --remove` removes \
             them from the index",
            path.display()
        ))
    })
}

/// The same for a path that may be gone: its folders are resolved as far as they exist.
pub fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut ancestors = whole.ancestors();
    let found = ancestors.find_map(|folder| Some((folder.canonicalize().ok()?, folder)));
    match found {
        Some((real, folder)) => match whole.strip_prefix(folder) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => whole,
        },
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_gone_is_resolved_as_far_as_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("photos")).unwrap();
        std::os::unix::fs::symlink(real.join("photos"), real.join("link")).unwrap();
        let path = real.join("link/gone/a.jpg");
        assert_eq!(resolved(&path), real.join("photos/gone/a.jpg"));
        assert_eq!(resolved(&real.join("link")), real.join("photos"));
        assert!(existing(&path).is_err());
    }
}
