//! Memory limits of control groups, versions 1 and 2.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{Cache, Memory};

/// Version 1 writes a number near 2^63 for "no limit"; no machine has 2^60 bytes.
const UNLIMITED: u64 = 1 << 60;

/// Names of the files of one version.
struct Version {
    limits: &'static [&'static str],
    usage: &'static str,
    /// Pages of files that were not used of late, and those that were, in `memory.stat`.
    inactive_file: &'static str,
    active_file: &'static str,
}

const V1: Version = Version {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file",
    active_file: "total_active_file",
};

/// Above `memory.high` the kernel throttles instead of killing; a run is as good as dead there.
const V2: Version = Version {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    inactive_file: "inactive_file",
    active_file: "active_file",
};

/// The tightest limit of all groups around this process, and the least that any of them has left;
/// `None` without a limit. `root` is `/` outside tests.
pub(super) fn memory_below(root: &Path, cache: Cache) -> Option<Memory> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mut tightest: Option<Memory> = None;
    for line in membership.lines() {
        let Some((version, path)) = parse_membership(line) else { continue };
        let is_v1 = std::ptr::eq(version, &V1);
        let Some((mount, folder)) = mounts.lines().find_map(|line| locate(line, is_v1, path))
        else {
            continue;
        };
        // a limit of any ancestor holds as well
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            let Some(here) = read_group(&below(root, folder), version, cache) else { continue };
            tightest = Some(tightest.map_or(here, |known| Memory {
                total: known.total.min(here.total),
                available: known.available.min(here.available),
            }));
        }
    }
    tightest
}

/// Version and path of the group that a line of `/proc/self/cgroup` names, if memory is its matter.
fn parse_membership(line: &str) -> Option<(&'static Version, &str)> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    if hierarchy == "0" && controllers.is_empty() {
        Some((&V2, path))
    } else {
        controllers.split(',').any(|name| name == "memory").then_some((&V1, path))
    }
}

/// Mount point and folder of the group `path`, if this line of `/proc/self/mountinfo` mounts its
/// hierarchy.
///
/// In a container the mount often shows only a part of the hierarchy (its root field), and `path`
/// may or may not be within that part; if it is not, the mount point itself is the group.
fn locate(line: &str, is_v1: bool, path: &str) -> Option<(PathBuf, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (mount_root, mount) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = after.nth(1).unwrap_or("");
    let is_it = match kind {
        "cgroup2" => !is_v1,
        "cgroup" => is_v1 && options.split(',').any(|option| option == "memory"),
        _ => false,
    };
    if !is_it {
        return None;
    }
    let mount = PathBuf::from(mount.replace("\\040", " "));
    let inside = Path::new(path).strip_prefix(mount_root).unwrap_or(Path::new(""));
    // paths outside the cgroup namespace begin with /..
    let is_plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    let folder = if is_plain { mount.join(inside) } else { mount.clone() };
    Some((mount, folder))
}

/// Limit and rest of one group; `None` without a limit.
fn read_group(folder: &Path, version: &Version, cache: Cache) -> Option<Memory> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let limit = version.limits.iter().filter_map(|name| number(name)).min()?;
    if limit >= UNLIMITED {
        return None;
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let pages = |name: &str| -> u64 {
        let mut fields = stat.lines().filter_map(|line| line.split_once(' '));
        fields
            .find(|(field, _)| *field == name)
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    };
    let reclaimable = match cache {
        Cache::Inactive => pages(version.inactive_file),
        Cache::All => pages(version.inactive_file).saturating_add(pages(version.active_file)),
    };
    let used = number(version.usage).unwrap_or(0).saturating_sub(reclaimable);
    Some(Memory { total: limit, available: limit.saturating_sub(used) })
}

/// `path`, which is absolute, below `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const V2_MOUNTS: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn version_2_takes_the_tightest_limit_on_the_way_up() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/user.slice/session/job\n"),
            ("proc/self/mountinfo", V2_MOUNTS),
            ("sys/fs/cgroup/user.slice/memory.max", "8000000\n"),
            ("sys/fs/cgroup/user.slice/memory.high", "6000000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "5500000\n"),
            (
                "sys/fs/cgroup/user.slice/memory.stat",
                "anon 1\ninactive_file 1500000\nactive_file 100000\n",
            ),
            ("sys/fs/cgroup/user.slice/session/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/session/job/memory.max", "7000000\n"),
            ("sys/fs/cgroup/user.slice/session/job/memory.current", "1000000\n"),
        ]);
        let want = Memory { total: 6_000_000, available: 2_100_000 };
        assert_eq!(memory_below(root.path(), Cache::All), Some(want));
        let want = Memory { total: 6_000_000, available: 2_000_000 };
        assert_eq!(memory_below(root.path(), Cache::Inactive), Some(want));
    }

    #[test]
    fn version_1_reads_limit_usage_and_hierarchical_cache() {
        let files = [
            ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/jobs/a\n0::/\n"),
            ("proc/self/mountinfo", V1_MOUNTS),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "5000000\n"),
            ("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "4000000\n"),
            (
                "sys/fs/cgroup/memory/jobs/memory.stat",
                "inactive_file 7\ntotal_inactive_file 3000000\n",
            ),
        ];
        let want = Memory { total: 5_000_000, available: 4_000_000 };
        assert_eq!(memory_below(tree(&files).path(), Cache::Inactive), Some(want));
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount_point() {
        // the mount shows only /docker/abc, and the process is told the path on the host
        for (membership, mount_root) in [
            ("4:memory:/docker/abc\n", "/docker/abc"),
            ("4:memory:/\n", "/"),
            ("4:memory:/../../other\n", "/"),
            ("4:memory:/docker/abc/inner\n", "/docker/xyz"),
        ] {
            let mounts =
                format!("35 31 0:32 {mount_root} /sys/fs/cgroup/memory rw - cgroup c rw,memory\n");
            let root = tree(&[
                ("proc/self/cgroup", membership),
                ("proc/self/mountinfo", &mounts),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n"),
            ]);
            let want = Memory { total: 1000, available: 600 };
            assert_eq!(memory_below(root.path(), Cache::Inactive), Some(want), "{membership}");
        }
    }

    #[test]
    fn no_limit_and_no_files_are_no_limit() {
        assert_eq!(memory_below(tree(&[]).path(), Cache::Inactive), None);
        let unlimited = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNTS),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ]);
        assert_eq!(memory_below(unlimited.path(), Cache::Inactive), None);
    }

    #[test]
    fn a_group_over_its_limit_has_nothing_left() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNTS),
            ("sys/fs/cgroup/memory.max", "100\n"),
            ("sys/fs/cgroup/memory.current", "120\n"),
        ]);
        assert_eq!(
            memory_below(root.path(), Cache::Inactive),
            Some(Memory { total: 100, available: 0 })
        );
    }
}
