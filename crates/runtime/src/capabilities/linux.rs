//! Linux: `/proc` and `/sys`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Cache, Memory, cgroup};

/// Memory of the machine, or of the tightest cgroup around this process.
pub(super) fn memory(cache: Cache) -> Option<Memory> {
    memory_below(Path::new("/"), cache)
}

/// Physical cores within the affinity mask.
pub(super) fn physical_cores() -> Option<usize> {
    physical_cores_below(Path::new("/"))
}

fn memory_below(root: &Path, cache: Cache) -> Option<Memory> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = meminfo.as_deref().and_then(parse_meminfo);
    match (machine, cgroup::memory_below(root, cache)) {
        (Some(machine), Some(group)) => Some(Memory {
            total: machine.total.min(group.total),
            available: machine.available.min(group.available),
        }),
        (machine, group) => machine.or(group),
    }
}

/// Total and available memory from `/proc/meminfo`. Kernels before 3.14 have no `MemAvailable`:
/// free memory and page cache stand for it.
fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    let total = field("MemTotal")?;
    let available = field("MemAvailable").or_else(|| {
        let cached = field("Buffers").unwrap_or(0) + field("Cached").unwrap_or(0);
        Some(field("MemFree")? + cached)
    })?;
    Some(Memory { total, available: available.min(total) })
}

fn physical_cores_below(root: &Path) -> Option<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let allowed = parse_allowed_cpus(&status)?;
    cores_from_sysfs(root, &allowed).or_else(|| {
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).ok()?;
        cores_from_cpuinfo(&cpuinfo, &allowed)
    })
}

/// Logical cores in the affinity mask of `/proc/self/status`.
fn parse_allowed_cpus(status: &str) -> Option<BTreeSet<usize>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_cpu_list(list.trim())
}

/// `0-3,8,10-11` as a set.
fn parse_cpu_list(list: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// Cores are told apart by package and core number; `None` if any of them is not told.
fn cores_from_sysfs(root: &Path, allowed: &BTreeSet<usize>) -> Option<usize> {
    let number = |cpu: usize, name: &str| {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/{name}");
        fs::read_to_string(root.join(path)).ok()?.trim().parse::<i64>().ok()
    };
    let cores: Option<BTreeSet<_>> = allowed
        .iter()
        .map(|&cpu| Some((number(cpu, "physical_package_id")?, number(cpu, "core_id")?)))
        .collect();
    Some(cores?.len())
}

/// The same from `/proc/cpuinfo`, whose blocks are separated by empty lines.
fn cores_from_cpuinfo(cpuinfo: &str, allowed: &BTreeSet<usize>) -> Option<usize> {
    let mut cores = BTreeSet::new();
    for block in cpuinfo.split("\n\n") {
        let number = |name: &str| {
            block.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().parse::<usize>().ok())?
            })
        };
        let Some(cpu) = number("processor") else { continue };
        if allowed.contains(&cpu) {
            cores.insert((number("physical id")?, number("core id")?));
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `files` (path, text) below a new folder.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: &str = "MemTotal:       24684000 kB\nMemFree:         1000000 kB\n\
        MemAvailable:   20000000 kB\nBuffers:          100000 kB\nCached:          2000000 kB\n";

    #[test]
    fn page_cache_counts_as_available() {
        let new = parse_meminfo(MEMINFO).unwrap();
        assert_eq!(new, Memory { total: 24_684_000 << 10, available: 20_000_000 << 10 });
        let old = MEMINFO.replace("MemAvailable", "SomethingElse");
        assert_eq!(parse_meminfo(&old).unwrap().available, 3_100_000 << 10);
        assert_eq!(parse_meminfo("nonsense"), None);
    }

    #[test]
    fn the_tighter_of_machine_and_group_counts() {
        let root = tree(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/job\n"),
            ("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/job/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/job/memory.current", "1000000\n"),
            ("sys/fs/cgroup/job/memory.stat", "inactive_file 400000\n"),
        ]);
        let want = Memory { total: 1 << 30, available: (1 << 30) - 600_000 };
        assert_eq!(memory_below(root.path(), Cache::Inactive), Some(want));
        let bare = tree(&[("proc/meminfo", MEMINFO)]);
        assert_eq!(memory_below(bare.path(), Cache::Inactive).unwrap().total, 24_684_000 << 10);
        assert_eq!(memory_below(tree(&[]).path(), Cache::Inactive), None);
    }

    #[test]
    fn cpu_lists_are_sets() {
        let set = parse_cpu_list("0-2,8,10-11").unwrap();
        assert_eq!(set.into_iter().collect::<Vec<_>>(), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_cpu_list(""), None);
        assert_eq!(parse_cpu_list("a-b"), None);
    }

    #[test]
    fn hyper_threads_share_a_core() {
        // four threads on two cores; the mask leaves both threads of core 0 and one of core 1
        let files: Vec<(String, String)> = (0..4)
            .flat_map(|cpu: usize| {
                let path = format!("sys/devices/system/cpu/cpu{cpu}/topology");
                [
                    (format!("{path}/physical_package_id"), "0\n".to_owned()),
                    (format!("{path}/core_id"), format!("{}\n", cpu % 2)),
                ]
            })
            .chain([("proc/self/status".into(), "Name:\tx\nCpus_allowed_list:\t0,2-3\n".into())])
            .collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (&path[..], &text[..])).collect();
        assert_eq!(physical_cores_below(tree(&files).path()), Some(2));
    }

    #[test]
    fn cpuinfo_stands_in_for_sysfs() {
        let block = |cpu, package, core| {
            format!(
                "processor\t: {cpu}\nmodel name\t: X\nphysical id\t: {package}\ncore id\t\t: {core}\n\n"
            )
        };
        let cpuinfo = [block(0, 0, 0), block(1, 0, 0), block(2, 1, 0), block(3, 1, 0)].concat();
        let allowed = |list| parse_cpu_list(list).unwrap();
        assert_eq!(cores_from_cpuinfo(&cpuinfo, &allowed("0-3")), Some(2));
        assert_eq!(cores_from_cpuinfo(&cpuinfo, &allowed("0-1")), Some(1));
        // ARM tells neither: unknown, so that the logical cores are taken
        assert_eq!(cores_from_cpuinfo("processor\t: 0\nBogoMIPS\t: 50\n", &allowed("0")), None);
    }
}
