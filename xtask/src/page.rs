//! The tools that test the page of `uard serve` in a real browser: Playwright, which drives it, and axe,
//! which finds what people with disabilities cannot use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::launch::succeeds;

/// The packages, with the versions that the test was written for. Playwright's own browsers are not
/// downloaded.
const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];

/// Names of browsers that Playwright drives as Chromium.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The variable that names the folder of the tools; the tests of `uard serve` use a browser if it is set.
const TOOLS: &str = "UARD_PAGE_TOOLS";

/// The variable that names the browser.
const BROWSER: &str = "UARD_BROWSER";

/// Installs the packages into `target/page-tools`, unless they are there.
///
/// # Errors
/// What is missing, and how to install it.
pub fn set_up(root: &Path) -> Result<(), &'static str> {
    if browser().is_none() {
        return Err("no Chromium is installed: apt install chromium");
    }
    if !["node", "npm"]
        .iter()
        .all(|tool| succeeds(Command::new(tool).arg("--version")))
    {
        return Err("no Node.js with npm is installed: apt install nodejs npm");
    }
    let folder = folder(root);
    if is_installed(&folder) {
        return Ok(());
    }
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--save-exact",
    ]);
    install.arg("--prefix").arg(&folder).args(PACKAGES);
    let made = std::fs::create_dir_all(&folder).is_ok();
    match made && succeeds(&mut install) && is_installed(&folder) {
        true => Ok(()),
        false => Err("npm cannot install playwright-core and axe-core; is its registry reachable?"),
    }
}

/// Gives the tests a browser, if the tools are installed.
pub fn add_tools(command: &mut Command, root: &Path) -> anyhow::Result<()> {
    let folder = folder(root);
    if let Some(browser) = browser().filter(|_| is_installed(&folder)) {
        let folder = folder.canonicalize().context("the folder of Playwright")?;
        command.env(TOOLS, folder).env(BROWSER, browser);
    }
    Ok(())
}

fn folder(root: &Path) -> PathBuf {
    root.join("target/page-tools")
}

/// Whether both packages have the wanted versions.
fn is_installed(folder: &Path) -> bool {
    PACKAGES.iter().all(|package| {
        let (name, version) = package.split_once('@').unwrap_or((package, ""));
        let manifest = folder.join("node_modules").join(name).join("package.json");
        let manifest = std::fs::read(manifest).unwrap_or_default();
        let manifest = serde_json::from_slice::<serde_json::Value>(&manifest).unwrap_or_default();
        manifest["version"] == version
    })
}

/// The browser that is found first on the path.
fn browser() -> Option<OsString> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let programs = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |it| it.join(name)));
    let mut found = programs.filter(|program| program.is_file());
    found.next().map(PathBuf::into_os_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_other_versions_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_installed(folder.path()));
        for package in PACKAGES {
            let (name, version) = package.split_once('@').unwrap();
            let package = folder.path().join("node_modules").join(name);
            std::fs::create_dir_all(&package).unwrap();
            let manifest = format!("{{\"version\": \"{version}\"}}");
            std::fs::write(package.join("package.json"), manifest).unwrap();
        }
        assert!(is_installed(folder.path()));
        let axe = folder.path().join("node_modules/axe-core/package.json");
        std::fs::write(axe, "{\"version\": \"4.0.0\"}").unwrap();
        assert!(!is_installed(folder.path()));
    }
}
