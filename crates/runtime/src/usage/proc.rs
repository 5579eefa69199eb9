//! Usage from Linux's `/proc`.

use std::fs;
use std::process;

use super::{Usage, own_cpu_secs};

/// Clock ticks per second in `/proc/*/stat`: fixed at 100 in the kernel's user interface
/// (`USER_HZ`) on every architecture that we build for.
const TICKS_PER_SEC: f64 = 100.0;

/// The fields of `/proc/PID/stat` that count here.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// User and system time, in ticks.
    own_ticks: u64,
    /// The same of children that were waited for.
    reaped_ticks: u64,
}

pub(super) fn usage() -> Usage {
    let children = descendants(process::id());
    let sum = |field: fn(u32) -> Option<u64>| {
        let own = field(process::id())?;
        Some(own + children.iter().filter_map(|&pid| field(pid)).sum::<u64>())
    };
    Usage {
        cpu_secs: cpu_secs_with(&children),
        rss_bytes: sum(|pid| status_kib(pid, "VmRSS:")),
        read_bytes: sum(|pid| io_bytes(pid, "rchar:", "read_bytes:")),
        written_bytes: sum(|pid| io_bytes(pid, "wchar:", "write_bytes:")),
    }
}

pub(super) fn cpu_secs() -> Option<f64> {
    cpu_secs_with(&descendants(process::id()))
}

pub(super) fn peak_rss_bytes() -> Option<u64> {
    let own = peak_rss_of(process::id())?;
    Some(own + descendants(process::id()).into_iter().filter_map(peak_rss_of).sum::<u64>())
}

/// Highest resident memory of the process `pid`, in bytes.
pub(super) fn peak_rss_of(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:")
}

fn cpu_secs_with(children: &[u32]) -> Option<f64> {
    let reaped = stat(process::id())?.reaped_ticks;
    let live: u64 = children
        .iter()
        .filter_map(|&pid| stat(pid))
        .map(|stat| stat.own_ticks + stat.reaped_ticks)
        .sum();
    Some(own_cpu_secs() + (reaped + live) as f64 / TICKS_PER_SEC)
}

/// Processes below `ancestor`: from the `children` files of its threads where the kernel has them,
/// else from a walk over all of `/proc`, which takes about 10 µs for each process of the machine.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents = if children_of(ancestor).is_some() { None } else { Some(all_parents()) };
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        match &parents {
            // a process that has just ended has no children
            None => found.extend(children_of(parent).unwrap_or_default()),
            Some(parents) => {
                found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            }
        }
    }
    found.split_off(1)
}

/// Children of all threads of `pid`; `None` if the kernel has no `children` files.
fn children_of(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => {
                children
                    .extend(list.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
            // a thread that has just ended
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Every process of the machine with its parent.
fn all_parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.parent)))
        .collect()
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name, second in the line, may hold blanks and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, after_name) = line.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: number(1)? as u32,
        own_ticks: number(11)? + number(12)?,
        reaped_ticks: number(13)? + number(14)?,
    })
}

/// A field of `/proc/PID/status` that is given in kB, in bytes.
fn status_kib(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&text, name)?.checked_mul(1024)
}

/// The larger of two fields of `/proc/PID/io`: calls are counted in the first, pages of mapped
/// files in the second.
fn io_bytes(pid: u32, calls: &str, storage: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    Some(field(&text, calls)?.max(field(&text, storage)?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = "4242 (a) b (c) S 17 4242 17 0 -1 4194560 990 12 1 0 250 31 7 9 20 0 1 0 88";
        let want = Stat { parent: 17, own_ticks: 281, reaped_ticks: 16 };
        assert_eq!(parse_stat(line), Some(want));
        assert_eq!(parse_stat("4242 (short) S 17"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(1024));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[test]
    fn this_process_holds_memory_and_has_read_its_program() {
        let now = usage();
        assert!(now.rss_bytes.unwrap() > 100_000);
        assert!(peak_rss_bytes().unwrap() >= now.rss_bytes.unwrap() / 2);
        assert!(now.cpu_secs.is_some() && now.read_bytes.is_some());
    }

    #[test]
    fn a_child_is_seen_while_it_lives() {
        let mut child = process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(descendants(process::id()).contains(&child.id()));
        assert!(all_parents().contains(&(child.id(), process::id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(process::id()).contains(&child.id()));
    }
}
