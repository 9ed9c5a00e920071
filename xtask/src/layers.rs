//! Checks the dependencies between packages: the arrows of ARCHITECTURE.md as a table, compared with
//! `cargo metadata`.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::launch;

/// Each package with the packages of this workspace that it may name in `[dependencies]` and
/// `[build-dependencies]`, without `uard-`. If the list contains the package itself, only the packages
/// before it are allowed.
///
/// A dependency may skip layers downward; it never points up or sideways.
const ARROWS: &[(&str, &str)] = &[
    ("uard-files", ""),
    ("uard-linalg", ""),
    ("uard-core", "linalg"),
    ("uard-relevance", ""),
    ("uard-eval", ""),
    ("uard-testkit", ""),
    ("uard-report", "relevance eval"),
    ("uard-ptx", "core"),
    ("uard-data", "files"),
    ("uard-hub", "files core"),
    ("uard-scenes", "files core data"),
    ("uard-features", "files linalg core data hub"),
    ("uard-attention", "files linalg core relevance"),
    ("uard-model", SERVING),
    ("uard-search", SERVING),
    ("uard-serve", "files search"),
    ("uard-training", LIBRARIES),
    ("uard-cli", LIBRARIES),
    ("uard-benches", LIBRARIES),
    (
        "uard-python",
        "linalg hub data relevance eval features attention model search cli",
    ),
    (
        "uard-fuzz",
        "files core data hub features attention search cli",
    ),
    ("xtask", ""),
];

/// The packages that serve a trained model and what they need, lowest first.
const SERVING: &str = "files linalg core relevance eval data hub features attention model";

/// All libraries, lowest first.
const LIBRARIES: &str = "files linalg core relevance eval data hub scenes report features attention \
    model training search serve";

/// Packages that may be named in `[dev-dependencies]` only; there every package may name them.
const FOR_TESTS: &[&str] = &["uard-testkit", "uard-ptx"];

/// For some packages, prefixes of crates that they must not depend on, and the reason.
const ABSENCES: &[(&str, &[&str], &str)] = &[
    ("uard-linalg", &["candle"], "it works on plain slices"),
    ("uard-eval", &["candle"], "it works on plain numbers"),
    ("uard-relevance", &["candle"], "it works on plain numbers"),
    (
        "uard-data",
        &["candle"],
        "it works on files and plain numbers",
    ),
    ("uard-report", &["candle"], "it works on plain numbers"),
    ("xtask", &["candle"], "it must build within seconds"),
    (
        "uard-attention",
        &["image", "tokenizers", "npyz", "axum", "hyper", "tokio"],
        "a downstream crate gets candle-core, half and rayon, nothing of images, text or the web",
    ),
];

/// The part of the output of `cargo metadata` that this check reads.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency.
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

/// A sentence for every dependency of the workspace that the table does not allow.
pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = launch::cargo(root)
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("reading the output of cargo metadata")?;
    Ok(violations(&metadata.packages))
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            found.push(format!(
                "`{}` is not in the table of layers: add it with its allowed dependencies to \
                 xtask/src/layers.rs and ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        let allowed: Vec<String> = allowed
            .split_whitespace()
            .map(|name| format!("uard-{name}"))
            .take_while(|name| *name != package.name)
            .collect();
        for dependency in &package.dependencies {
            let ours = packages.iter().any(|other| other.name == dependency.name);
            let violation = match ours {
                true => layer_violation(&package.name, dependency, &allowed),
                false => foreign_violation(&package.name, dependency),
            };
            found.extend(violation);
        }
    }
    found
}

fn layer_violation(package: &str, dependency: &Dependency, allowed: &[String]) -> Option<String> {
    let name = &dependency.name;
    if FOR_TESTS.contains(&name.as_str()) {
        return (dependency.kind != Some(Kind::Dev)).then(|| {
            format!("`{package}` names `{name}` outside [dev-dependencies]: it is for tests only")
        });
    }
    (!allowed.contains(name)).then(|| {
        let list = match allowed.is_empty() {
            true => "no package of this workspace".to_owned(),
            false => allowed.join(", "),
        };
        format!(
            "`{package}` imports `{name}`, but may import {list}: move the code to a lower package \
             or pass a value"
        )
    })
}

fn foreign_violation(package: &str, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    ABSENCES
        .iter()
        .filter(|_| dependency.kind != Some(Kind::Dev))
        .find(|(who, names, _)| {
            *who == package && names.iter().any(|start| name.starts_with(start))
        })
        .map(|(_, _, reason)| format!("`{package}` must not know `{name}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<Kind>)]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|&(name, kind)| Dependency {
                    name: name.to_owned(),
                    kind,
                })
                .collect(),
        }
    }

    /// The violations in a workspace where `name` has these dependencies, and every other package
    /// of the table has none.
    fn complaints(name: &str, dependencies: &[(&str, Option<Kind>)]) -> Vec<String> {
        let mut packages: Vec<Package> = ARROWS
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(other, _)| package(other, &[]))
            .collect();
        packages.push(package(name, dependencies));
        violations(&packages)
    }

    #[test]
    fn downward_dependencies_pass_and_may_skip_layers() {
        let below = [
            ("uard-core", None),
            ("uard-attention", None),
            ("serde", None),
        ];
        assert!(complaints("uard-training", &below).is_empty());
    }

    #[test]
    fn upward_and_sideways_dependencies_fail() {
        let upward = complaints("uard-core", &[("uard-attention", None)]);
        assert!(
            upward[0].contains("`uard-core` imports `uard-attention`"),
            "{upward:?}"
        );
        assert_eq!(
            complaints("uard-features", &[("uard-attention", None)]).len(),
            1
        );
        assert_eq!(complaints("uard-training", &[("uard-cli", None)]).len(), 1);
    }

    #[test]
    fn eval_relevance_and_xtask_import_nothing_of_ours() {
        for name in ["uard-eval", "uard-relevance", "xtask"] {
            assert_eq!(complaints(name, &[("uard-core", None)]).len(), 1, "{name}");
        }
    }

    #[test]
    fn crates_for_tests_pass_among_dev_dependencies_only() {
        for name in FOR_TESTS {
            assert!(complaints("uard-eval", &[(name, Some(Kind::Dev))]).is_empty());
            for kind in [None, Some(Kind::Build)] {
                assert_eq!(complaints("uard-cli", &[(name, kind)]).len(), 1);
            }
        }
    }

    #[test]
    fn a_dev_dependency_follows_the_table_too() {
        let found = complaints("uard-attention", &[("uard-training", Some(Kind::Dev))]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn nothing_imports_the_binary_the_benches_or_xtask() {
        for name in ["uard-cli", "uard-benches", "xtask"] {
            assert_eq!(
                complaints("uard-training", &[(name, None)]).len(),
                1,
                "{name}"
            );
        }
        assert_eq!(complaints("uard-benches", &[("uard-cli", None)]).len(), 1);
    }

    #[test]
    fn a_package_outside_the_table_fails() {
        let found = violations(&[package("uard-new", &[])]);
        assert!(
            found[0].contains("`uard-new` is not in the table"),
            "{found:?}"
        );
    }

    #[test]
    fn forbidden_foreign_crates_fail_except_in_tests() {
        assert_eq!(complaints("uard-attention", &[("image", None)]).len(), 1);
        assert!(complaints("uard-attention", &[("image", Some(Kind::Dev))]).is_empty());
    }

    #[test]
    fn the_output_of_cargo_metadata_is_read() {
        let text = r#"{"packages": [{"name": "xtask", "version": "0.1.0", "dependencies": [
            {"name": "clap", "kind": null, "req": "^4", "optional": false},
            {"name": "tempfile", "kind": "dev", "req": "^3"}]}]}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert!(metadata.packages[0].dependencies[0].kind.is_none());
        assert!(violations(&metadata.packages).is_empty());
    }
}
