//! Checks that the relative links of the documents lead to files of the repository.

use std::path::{Component, Path, PathBuf};

use crate::sources::Source;

/// Folders that exist only after a build or a run.
const NOT_COMMITTED: &[&str] = &["data", "runs", "target"];

/// The text before a link's target and the character after it: Markdown, and HTML for pictures.
const OPENINGS: &[(&str, char)] = &[("](", ')'), ("src=\"", '"'), ("href=\"", '"')];

/// Every broken link of a document, as `path:line: sentence`.
pub fn check(root: &Path, document: &Source) -> Vec<String> {
    let path = &document.path;
    let targets = document.prose().flat_map(|(number, line)| {
        let targets = targets(line).into_iter();
        targets.map(move |target| (number, target))
    });
    targets
        .filter_map(|(number, target)| {
            let complaint = complaint(root, path, target)?;
            Some(format!(
                "{path}:{number}: the link to `{target}` {complaint}"
            ))
        })
        .collect()
}

fn complaint(root: &Path, document: &str, target: &str) -> Option<&'static str> {
    let path = target.split(['#', '?']).next().unwrap_or_default();
    let foreign = target.contains("://") || target.starts_with("mailto:");
    if foreign || path.is_empty() {
        return None;
    }
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let Some(inside) = normalized(&folder.join(path)) else {
        return Some("leaves the repository");
    };
    if NOT_COMMITTED.iter().any(|name| inside.starts_with(name)) {
        return Some("leads into a folder that is not committed");
    }
    (!root.join(inside).exists()).then_some("leads to no file")
}

/// The path without `.` and `..`; `None` if it leads above the root.
fn normalized(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !inside.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// The link targets of a line, except those in inline code.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (opening, closing) in OPENINGS {
        for (at, _) in line.match_indices(opening) {
            let inside_code = line[..at].matches('`').count() % 2 == 1;
            if inside_code && line[at..].contains('`') {
                continue;
            }
            let rest = &line[at + opening.len()..];
            let Some(end) = rest.find(*closing) else {
                continue;
            };
            let target = rest[..end].trim_matches(['<', '>']);
            found.extend(target.split_whitespace().next());
        }
    }
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The complaints about a text at `docs/a.md`, in a repository with `docs/b.md` and `README.md`.
    fn complaints(text: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for folder in ["docs", "runs/x"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for path in ["README.md", "docs/b.md", "runs/x/report.html"] {
            std::fs::write(root.path().join(path), "").unwrap();
        }
        let document = Source {
            path: "docs/a.md".to_owned(),
            text: text.to_owned(),
        };
        check(root.path(), &document)
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[b](b.md) ![](../README.md \"title\") [c](b.md#part) [d](#here)\n\
                    [e](https://example.org/x) <img src=\"b.md\"> [g](<b.md>)\n[f]: b.md\n";
        assert_eq!(complaints(text), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_fail_with_their_line() {
        for text in [
            "\n[b](c.md)",
            "\n<img src=\"c.png\">",
            "\n[b]: c.md",
            "\n[`b`](c.md)",
        ] {
            let found = complaints(text);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with("docs/a.md:2: "), "{found:?}");
            assert!(found[0].ends_with("leads to no file"), "{found:?}");
        }
    }

    #[test]
    fn links_out_of_the_repository_fail() {
        assert!(complaints("[x](../../shared/x.md)")[0].contains("leaves the repository"));
    }

    #[test]
    fn links_to_what_a_run_leaves_fail() {
        assert!(complaints("[x](../runs/x/report.html)")[0].contains("not committed"));
    }

    #[test]
    fn code_is_not_read_as_links() {
        let text = "`a[i](j.md)` and `b`\n```text\n[x](y.md)\n```\n";
        assert_eq!(complaints(text), Vec::<String>::new());
    }
}
