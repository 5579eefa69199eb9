//! The architecture, kept by a test: which crate may use which, where unsafe code, threads,
//! clocks and processes may occur.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every edge between our own crates that may exist, dev-dependencies included. The picture is in
/// `ARCHITECTURE.md`; a new edge needs a decision record first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("image", &[]),
    ("runtime", &[]),
    ("kernels", &["image"]),
    ("io", &["image"]),
    ("engine", &["image", "kernels", "io", "runtime"]),
    ("cli", &["engine"]),
];

/// Crates without unsafe code of their own, but for single items that say why.
const PURE: &[&str] = &["image", "kernels", "runtime", "engine", "cli"];

/// Words that may occur in the code of one crate only, and why.
const ONLY_IN: &[(&str, &str, &str)] = &[
    ("std::thread", "runtime", "the runtime is the one place that starts threads"),
    ("thread::spawn", "runtime", "the runtime is the one place that starts threads"),
    ("thread::scope", "runtime", "the runtime is the one place that starts threads"),
    ("Instant::now", "runtime", "time is telemetry: it reaches the others through the observer"),
    ("SystemTime::now", "runtime", "time is telemetry: it reaches the others through the observer"),
    ("process::Command", "runtime", "the runtime is the one place that starts processes"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// (user, used, kind) for every edge between crates of the workspace.
fn edges(metadata: &Value) -> BTreeSet<(String, String, String)> {
    let ours = |name: &str| name.strip_prefix("stillframe-").map(str::to_owned);
    let mut found = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let user = ours(package["name"].as_str().unwrap())
            .expect("every crate of the workspace is called stillframe-something");
        for dependency in package["dependencies"].as_array().unwrap() {
            if let Some(used) = ours(dependency["name"].as_str().unwrap()) {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                found.insert((user.clone(), used, kind));
            }
        }
    }
    found
}

fn forbidden(edges: &BTreeSet<(String, String, String)>) -> Vec<String> {
    let allowed = |user: &str, used: &str| {
        ALLOWED.iter().any(|(name, uses)| *name == user && uses.contains(&used))
    };
    edges
        .iter()
        .filter(|(user, used, _)| !allowed(user, used))
        .map(|(user, used, kind)| format!("{user} -> {used} ({kind})"))
        .collect()
}

/// The Rust files under `folder`, but for those that hold a module of tests (`tests.rs`).
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is compiled into the library or the program: comments and the tests at the end of a file
/// are left out.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(opens_tests) {
            break;
        }
        kept.push_str(line.split("//").next().unwrap_or(""));
        kept.push('\n');
    }
    kept
}

#[test]
fn crates_use_only_the_layers_below() {
    let metadata = metadata();
    let found = edges(&metadata);
    assert_eq!(forbidden(&found), Vec::<String>::new(), "edges outside the table");
    let names: BTreeSet<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p["name"].as_str()?.strip_prefix("stillframe-"))
        .collect();
    let known: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "a new crate needs its row in the table");
    assert!(found.iter().any(|(user, used, _)| user == "cli" && used == "engine"));
}

#[test]
fn dependencies_are_used() {
    for package in metadata()["packages"].as_array().unwrap() {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let text: String = sources(&folder.join("src"))
            .iter()
            .map(|file| code(&std::fs::read_to_string(file).unwrap()))
            .collect();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap().replace('-', "_");
            let is_normal = dependency["kind"].is_null();
            assert!(
                !is_normal || text.contains(&format!("{name}::")),
                "{} does not use {name}",
                package["name"]
            );
        }
    }
}

#[test]
fn an_edge_outside_the_table_is_found() {
    let edge = |user: &str, used: &str| (user.to_owned(), used.to_owned(), "dev".to_owned());
    let edges = BTreeSet::from([edge("kernels", "io"), edge("kernels", "image")]);
    assert_eq!(forbidden(&edges), ["kernels -> io (dev)"]);
}

#[test]
fn pure_crates_have_no_unsafe_code() {
    for name in PURE {
        let src = root().join("crates").join(name).join("src");
        let top = ["lib.rs", "main.rs"].map(|f| src.join(f)).into_iter().find(|f| f.exists());
        let top = std::fs::read_to_string(top.unwrap()).unwrap();
        let forbids = top.contains("#![forbid(unsafe_code)]");
        assert!(
            forbids || top.contains("#![deny(unsafe_code)]"),
            "{name} must forbid unsafe code, or deny it and allow single items with a reason"
        );
        for file in sources(&src) {
            let text = code(&std::fs::read_to_string(&file).unwrap());
            let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            for (at, _) in compact.match_indices("allow(unsafe_code") {
                assert!(
                    compact[at..].starts_with("allow(unsafe_code,reason="),
                    "{}: an allowance for unsafe code without a reason",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn threads_clocks_and_processes_are_the_runtimes() {
    for (name, _) in ALLOWED {
        for file in sources(&root().join("crates").join(name).join("src")) {
            let text = code(&std::fs::read_to_string(&file).unwrap());
            for (word, owner, why) in ONLY_IN {
                assert!(
                    name == owner || !text.contains(word),
                    "{}: {word} belongs into {owner}: {why}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn comments_and_tests_are_not_code() {
    let text = "let a = 1; // Instant::now\n#[cfg(test)]\nmod tests {\nstd::thread\n}\n";
    assert_eq!(code(text), "let a = 1; \n");
}
