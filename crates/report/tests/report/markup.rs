//! Checks that a page is well-formed: elements are closed in order, attributes quoted, ids unique.

use std::collections::BTreeSet;

/// Elements without an end tag.
const VOID: [&str; 2] = ["img", "meta"];

/// Checks a whole page; the error quotes the tag or text that is wrong.
pub fn check(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("no doctype")?;
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start], open.last().copied())?;
        let end = rest[start..].find('>').ok_or("a tag without end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let expected = open.pop();
            if expected != Some(name) {
                return Err(format!("</{name}> where {expected:?} is open"));
            }
            continue;
        }
        let body = tag.strip_suffix('/').unwrap_or(tag);
        let (name, attributes) = body.split_once(' ').unwrap_or((body, ""));
        check_attributes(attributes, &mut ids)
            .map_err(|fault| format!("{fault} in <{}>", short(tag)))?;
        if body.len() == tag.len() && !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("never closed: {open:?}"))
    }
}

/// The page without the base64 text of its images.
pub fn without_data(page: &str) -> String {
    let mut parts = page.split("base64,");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('"').map_or("", |split| split.1)
    })
}

fn check_text(text: &str, element: Option<&str>) -> Result<(), String> {
    if element == Some("style") {
        return Ok(());
    }
    let loose = text.contains('>')
        || text.split('&').skip(1).any(|part| {
            let name = part.split_once(';').map_or("", |split| split.0);
            !matches!(name, "amp" | "lt" | "gt" | "quot" | "#39")
        });
    if loose {
        Err(format!("unescaped text: {}", short(text)))
    } else {
        Ok(())
    }
}

fn check_attributes<'a>(mut rest: &'a str, ids: &mut BTreeSet<&'a str>) -> Result<(), String> {
    while !rest.trim_start().is_empty() {
        let (name, value) = rest
            .trim_start()
            .split_once("=\"")
            .ok_or("attribute without value")?;
        let (value, after) = value.split_once('"').ok_or("attribute without end")?;
        if name.contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-') {
            return Err(format!("attribute named {name:?}"));
        }
        check_text(value, None)?;
        if name == "id" && !ids.insert(value) {
            return Err(format!("id {value} twice"));
        }
        if !after.is_empty() && !after.starts_with([' ', '\n']) {
            return Err(format!("no space after {name}"));
        }
        rest = after;
    }
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
