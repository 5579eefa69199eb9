//! The documents, kept true: links lead somewhere, tests that are named exist.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files below `folder` with one of these endings.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let root = root();
    let mut found = files(&root.join("docs"), "md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        found.push(root.join(name));
    }
    found.push(root.join("benches/RESULTS.md"));
    found
}

/// Targets of links `[text](target)` in `text`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn links_lead_to_files_that_exist() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or("");
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {link} leads nowhere", document.display());
        }
    }
}

#[test]
fn tests_named_in_the_acceptance_list_exist() {
    let text = std::fs::read_to_string(root().join("docs/acceptance-stack.md")).unwrap();
    let sources: String = files(&root().join("crates"), "rs")
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 38);
    for row in rows {
        let reasons = row.rsplit(" | ").next().unwrap_or("");
        for name in reasons.split('`').skip(1).step_by(2) {
            let is_test = name.contains('_') && !name.contains(['.', ' ', '/']);
            assert!(
                !is_test || sources.contains(&format!("fn {name}(")),
                "there is no test {name}: {row}"
            );
        }
    }
}

#[test]
fn links_are_found_in_text() {
    assert_eq!(links("see [a](b.md) and ![c](d.png)"), ["b.md", "d.png"]);
}
