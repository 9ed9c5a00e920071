//! Looks up the address of a file in a Python package index.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, ResponseExt};

/// Address of PyPI's simple API.
const PYPI: &str = "https://pypi.org/simple";

/// JSON is preferred (PEP 691); HTML (PEP 503) is accepted from mirrors without it.
const ACCEPTED: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";

/// Timeout of a connection that transfers nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// A package index with its HTTP client.
pub struct Index {
    agent: Agent,
    address: String,
}

#[derive(Deserialize)]
struct Listing {
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    filename: String,
    url: String,
}

impl Index {
    /// The index of `PIP_INDEX_URL`, or PyPI, with the certificates of `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// When the file of certificates cannot be read.
    pub fn from_environment() -> anyhow::Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
            tls = tls.root_certs(certificates(Path::new(&path))?);
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .timeout_connect(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        let address = std::env::var("PIP_INDEX_URL").unwrap_or_else(|_| PYPI.to_owned());
        Ok(Self { agent, address })
    }

    #[cfg(test)]
    pub fn at(address: &str) -> Self {
        Self {
            agent: Agent::new_with_defaults(),
            address: address.to_owned(),
        }
    }

    /// The HTTP client.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The address of a file of a package.
    ///
    /// # Errors
    /// When the index does not answer, or does not list the file.
    pub fn find(&self, package: &str, file: &str) -> anyhow::Result<String> {
        let page = format!("{}/{package}/", self.address.trim_end_matches('/'));
        let mut answer = self
            .agent
            .get(&page)
            .header("Accept", ACCEPTED)
            .call()
            .with_context(|| format!("asking {page}"))?;
        let base = answer.get_uri().to_string();
        let text = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("reading {page}"))?;
        let link = link(&text, file).ok_or_else(|| {
            anyhow!("{page} does not list {file}, which is pinned in xtask/src/cuda/wheels.txt")
        })?;
        Ok(joined(&base, &link))
    }
}

fn certificates(path: &Path) -> anyhow::Result<RootCerts> {
    let pem = fs::read(path)
        .with_context(|| format!("reading {}, which SSL_CERT_FILE names", path.display()))?;
    let found: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    ensure!(
        !found.is_empty(),
        "{}, which SSL_CERT_FILE names, holds no certificate in PEM",
        path.display()
    );
    Ok(found.into())
}

/// The link to a file on a page of the index, unresolved.
fn link(page: &str, file: &str) -> Option<String> {
    if let Ok(listing) = serde_json::from_str::<Listing>(page) {
        return listing
            .files
            .into_iter()
            .find(|listed| listed.filename == file)
            .map(|listed| listed.url);
    }
    page.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split(['"', '#']).next())
        .find(|address| address.rsplit('/').next() == Some(file))
        .map(str::to_owned)
}

/// Resolves a link on the page at `base`.
fn joined(base: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let host_from = base.find("://").map_or(0, |at| at + "://".len());
    let host_to = base[host_from..]
        .find('/')
        .map_or(base.len(), |at| host_from + at);
    let (host, path) = base.split_at(host_to);
    let mut parts: Vec<&str> = match link.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{host}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_json_and_in_html() {
        let json = r#"{"files": [{"filename": "b.whl", "url": "https://x/1/b.whl"}]}"#;
        assert_eq!(link(json, "b.whl").as_deref(), Some("https://x/1/b.whl"));
        assert_eq!(link(json, "a.whl"), None);
        let html = r#"<a href="../../p/a.whl#sha256=12">a.whl</a><a href="/p/b.whl">b</a>"#;
        assert_eq!(link(html, "a.whl").as_deref(), Some("../../p/a.whl"));
        assert_eq!(link(html, "b.whl").as_deref(), Some("/p/b.whl"));
        assert_eq!(link(html, "c.whl"), None);
    }

    #[test]
    fn relative_links_are_resolved() {
        let base = "http://mirror:80/root/simple/nvcc/";
        for (link, whole) in [
            ("https://x/b.whl", "https://x/b.whl"),
            ("/p/b.whl", "http://mirror:80/p/b.whl"),
            ("../../p/b.whl", "http://mirror:80/root/p/b.whl"),
            ("b.whl", "http://mirror:80/root/simple/nvcc/b.whl"),
        ] {
            assert_eq!(joined(base, link), whole);
        }
    }
}
